"""One request's wait for the ids that are being fetched for it."""

import asyncio
from collections.abc import Callable, Sequence

from gateway.errors import GatewayError
from gateway.model import Id, Rating
from gateway.waiters import Waiters

Outcome = Rating | GatewayError
"""The result for one id: its rating, None for unrated, or its own failure."""


class PendingFetch:
    """A request's ids on their way: one future and a countdown, however many the ids are."""

    __slots__ = ("_now", "_pending", "_woken", "calls", "collapsed", "outcomes")

    def __init__(self, pending: int, now: Callable[[], float]) -> None:
        self._pending = pending
        self._now = now
        self._woken: asyncio.Future[None] | None = None
        self.outcomes: dict[Id, Outcome] = {}
        """The results so far; those of all ids once `wait` returned in time."""
        self.collapsed = 0
        """How many of the ids were already being fetched for another request."""
        self.calls: Sequence[Waiters] = ()
        """The calls that fetch the ids, as those that wait for them see them."""

    @property
    def received_status(self) -> int | None:
        """What Apple answered to a try that failed, where another one is still to come."""
        return next((call.received_status for call in self.calls if call.received_status is not None), None)

    async def wait(self, until: float) -> None:
        """Return when every id has its outcome, or at `until` (monotonic seconds, may be infinite).

        A requester that stops waiting, by time or by cancellation, affects no fetch.
        """
        if not self._pending:
            return
        loop = asyncio.get_running_loop()
        self._woken = loop.create_future()
        timer = None if until == float("inf") else loop.call_later(max(0.0, until - self._now()), self._wake)
        try:
            await self._woken
        finally:
            self._woken = None
            if timer is not None:
                timer.cancel()

    def leave(self) -> None:
        """Ignore further results."""
        self._pending = 0

    def settle(self, id_: Id, outcome: Outcome) -> None:
        """Receive the result for one id."""
        if self._pending:
            self.outcomes[id_] = outcome
            self._pending -= 1
            if not self._pending:
                self._wake()

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)
