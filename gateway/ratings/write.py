"""How a write is sent: drop what is cached, send, then store what was written, with its hold.

A write that is refused here, because of the circuit breaker or the quarantine, leaves the cache as it is.

A write runs to its end even if its caller leaves or its deadline passes: otherwise the tiers could not record
whether the rating has changed.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from gateway.apple.call import NO_HEADERS
from gateway.apple.client import Apple, AppleSuccess, Outbound
from gateway.apple.response import written_resource
from gateway.cache.cache import Cache
from gateway.cache.write_log import BegunWrite
from gateway.cache.write_rule import ACCEPTED, UNCHANGED, UNKNOWN, Outcome, Unwritten
from gateway.chunks import chunks
from gateway.clock import Clock
from gateway.errors import (
    AppleError,
    BreakerOpen,
    DeadlineExceeded,
    NoCapacity,
    Unreachable,
    UpstreamError,
)
from gateway.model import FAVORITES_PATH, Id, Kind, Rating, User, ratings_path
from gateway.tasks import Tasks
from gateway.waiters import Requester, Waiters

FAVORITES_AT_ONCE: Final = 100
"""Ids whose invalidation is sent to Redis at the same time."""
REDIS_SECONDS: Final = 2.0
"""The longest that Redis takes to acknowledge that a write begins and ends."""


def write_seconds(wait: float, call_timeout_seconds: float) -> float:
    """Return how long a write may take whose caller waits `wait` seconds: the last try begins by then."""
    return wait + call_timeout_seconds + REDIS_SECONDS


class Writer:
    """Sends writes and favorites to Apple. Counts calls for the `requester`.

    `on_written` is called with each rating that was written and is held.
    """

    def __init__(
        self,
        *,
        cache: Cache,
        apple: Apple,
        tasks: Tasks,
        clock: Clock,
        call_timeout_seconds: float,
        on_written: Callable[[User, Kind, Id, Rating], None] | None = None,
    ) -> None:
        self._cache = cache
        self._apple = apple
        self._tasks = tasks
        self._clock = clock
        self._call_timeout = call_timeout_seconds
        self._on_written = on_written

    async def write(
        self,
        user: User,
        kind: Kind,
        id_: Id,
        value: int | None,
        query: str,
        deadline: float,
        requester: Requester,
        conditions: Mapping[str, str] = NO_HEADERS,
    ) -> AppleSuccess | UpstreamError:
        """Rate `id_` (1 or -1), or remove its rating (None). Returns Apple's answer, or the failure.

        `deadline` bounds the wait, and when a try may begin; one that was sent before runs on.
        `conditions` are the headers of a conditional request.
        """
        if (refusal := self._apple.write_refusal(user)) is not None:
            return refusal
        body = None if value is None else b'{"type":"rating","attributes":{"value":%d}}' % value
        call = Outbound(
            method="DELETE" if value is None else "PUT",
            path=ratings_path(kind, id_),
            query=query,
            user=user,
            body=body,
            operation="delete" if value is None else "write",
            headers=conditions,
        )
        return await self._finished(self._write(call, kind, id_, value, deadline, requester), deadline)

    async def favorites(
        self,
        user: User,
        method: str,
        ids: Sequence[tuple[Kind, Id]],
        query: str,
        deadline: float,
        requester: Requester,
        conditions: Mapping[str, str] = NO_HEADERS,
    ) -> AppleSuccess | UpstreamError:
        """Add favorites (POST) or remove them (DELETE), as `query` says. Returns as `write` does.

        Apple does not document what that does to the ratings of `ids`. If it accepts the request, they count
        as written, with a rating that is not known; else as after a write that failed.
        """
        if (refusal := self._apple.write_refusal(user)) is not None:
            return refusal
        call = Outbound(
            method=method,
            path=FAVORITES_PATH,
            query=query,
            user=user,
            operation="favorites",
            headers=conditions,
        )
        return await self._finished(self._send_favorites(call, ids, deadline, requester), deadline)

    async def _finished(
        self, work: Coroutine[Any, Any, AppleSuccess | UpstreamError], deadline: float
    ) -> AppleSuccess | UpstreamError:
        writing = self._tasks.spawn("write", work)
        done, _ = await asyncio.wait([writing], timeout=self._left(deadline))
        if not done:
            return DeadlineExceeded("The write was not confirmed in time; it may still be carried out.")
        return writing.result()

    def _left(self, deadline: float) -> float:
        return max(0.0, deadline - self._clock.monotonic())

    async def _begin(self, user: User, kind: Kind, id_: Id, deadline: float) -> BegunWrite:
        return await self._cache.begin_write(
            user, kind, id_, write_seconds(self._left(deadline), self._call_timeout)
        )

    async def _write(
        self, call: Outbound, kind: Kind, id_: Id, value: int | None, deadline: float, requester: Requester
    ) -> AppleSuccess | UpstreamError:
        write = await self._begin(call.user, kind, id_, deadline)
        outcome: Outcome = UNKNOWN
        try:
            answer = await self._apple.send(call, deadline, Waiters(requester))
            outcome = _outcome(kind, id_, value, answer)
        finally:
            held = await self._cache.end_write(write, outcome)
        if held and self._on_written is not None and not isinstance(outcome, Unwritten):
            self._on_written(call.user, kind, id_, outcome)
        return answer

    async def _send_favorites(
        self, call: Outbound, ids: Sequence[tuple[Kind, Id]], deadline: float, requester: Requester
    ) -> AppleSuccess | UpstreamError:
        writes: list[BegunWrite] = []
        for piece in chunks(ids, FAVORITES_AT_ONCE):
            begun = (self._begin(call.user, kind, id_, deadline) for kind, id_ in piece)
            writes += await asyncio.gather(*begun)
        outcome: Outcome = UNKNOWN
        try:
            answer = await self._apple.send(call, deadline, Waiters(requester))
            outcome = ACCEPTED if isinstance(answer, AppleSuccess) else _failed(answer, 1)
        finally:
            for ended in chunks(writes, FAVORITES_AT_ONCE):
                await asyncio.gather(*(self._cache.end_write(write, outcome) for write in ended))
        return answer


def _outcome(kind: Kind, id_: Id, value: int | None, answer: AppleSuccess | UpstreamError) -> Outcome:
    """The resource as Apple now has it, unless its answer contradicts what was written."""
    if not isinstance(answer, AppleSuccess):
        return _failed(answer, value)
    if value is None:
        return None
    resource = written_resource(kind, id_, value, answer.body)
    return ACCEPTED if resource is None else resource


def _failed(error: UpstreamError, value: int | None) -> Outcome:
    """The outcome of a write that Apple did not confirm."""
    match error:
        case UpstreamError(maybe_done=True):
            # What ended the repeat says nothing about the try before it.
            return UNKNOWN
        case UpstreamError(remembered=True):
            return UNCHANGED
        case AppleError(code="40400") if value is None:
            return None
        case AppleError(code="40402"):
            return UNKNOWN
        case AppleError(status=status):
            return UNCHANGED if status < 500 else UNKNOWN
        case Unreachable(sent=False) | BreakerOpen() | NoCapacity():
            return UNCHANGED
        case _:
            return UNKNOWN
