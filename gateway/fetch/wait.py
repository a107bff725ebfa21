"""One request's wait for the ids that are being fetched for it."""

import asyncio
from collections.abc import Callable, Sequence

from gateway.errors import GatewayError, UpstreamError
from gateway.model import Id, Rating
from gateway.waiters import Waiters

FetchResult = Rating | GatewayError
"""The result for one id: its rating, None for unrated, or its own failure."""


class FetchWait:
    """A request's ids on their way: one future and a countdown, however many the ids are."""

    __slots__ = ("_missing", "_now", "_woken", "batches", "collapsed", "results")

    def __init__(self, ids: int, now: Callable[[], float]) -> None:
        self._missing = ids
        self._now = now
        self._woken: asyncio.Future[None] | None = None
        self.results: dict[Id, FetchResult] = {}
        """The results so far; those of all ids once `until` returned in time."""
        self.collapsed = 0
        """How many of the ids were already being fetched for another request."""
        self.batches: Sequence[Waiters] = ()
        """Each batch that fetches any of the ids, by those that wait for it."""

    @property
    def failure(self) -> UpstreamError | None:
        """That of a try after which another one is still to come."""
        return next((each.failure for each in self.batches if each.failure is not None), None)

    async def until(self, deadline: float) -> None:
        """Return when every id has its result, or at `deadline` (monotonic seconds, may be infinite).

        A requester that stops waiting, by time or by cancellation, affects no fetch.
        """
        if not self._missing:
            return
        loop = asyncio.get_running_loop()
        self._woken = loop.create_future()
        left = max(0.0, deadline - self._now())
        timer = None if left == float("inf") else loop.call_later(left, self._wake)
        try:
            await self._woken
        finally:
            self._woken = None
            if timer is not None:
                timer.cancel()

    def leave(self) -> None:
        """Ignore further results."""
        self._missing = 0

    def settle(self, id_: Id, result: FetchResult) -> None:
        """Receive the result for one id."""
        if self._missing:
            self.results[id_] = result
            self._missing -= 1
            if not self._missing:
                self._wake()

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)
