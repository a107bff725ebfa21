"""How a write is sent: drop what is cached, send, then store what was written, with its hold.

A write that is refused here, because of the circuit breaker or the quarantine, leaves the cache as it is.

A write runs to its end even if its caller leaves or its deadline passes: otherwise the tiers could not record
whether the rating has changed.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from gateway.apple.client import Apple, AppleSuccess, Outbound
from gateway.apple.response import written_resource
from gateway.apple.transport import NO_HEADERS
from gateway.cache.cache import Cache
from gateway.cache.write_log import Write
from gateway.cache.write_rule import UNCHANGED, UNKNOWN, Outcome, Unwritten
from gateway.chunks import chunks
from gateway.clock import Clock
from gateway.errors import (
    BreakerOpen,
    DeadlineExceeded,
    GatewayError,
    NoCapacity,
    Relayed,
    Unreachable,
    UpstreamError,
)
from gateway.model import FAVORITES_PATH, Id, Kind, Rating, User, ratings_path
from gateway.tasks import Tasks
from gateway.waiters import Requester, Waiters

FAVORITES_AT_ONCE: Final = 100
"""Ids whose invalidation is sent to Redis at the same time."""


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
        on_written: Callable[[User, Kind, Id, Rating], None] | None = None,
    ) -> None:
        self._cache = cache
        self._apple = apple
        self._tasks = tasks
        self._clock = clock
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
    ) -> AppleSuccess:
        """Rate `id_` (1 or -1), or remove its rating (None). Raises `UpstreamError`.

        `deadline` bounds the wait, and when a try may begin; one that was sent before runs on.
        `conditions` are the headers of a conditional request.
        """
        self._apple.check(user)
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
    ) -> AppleSuccess:
        """Add favorites (POST) or remove them (DELETE), as `query` says. Raises `UpstreamError`.

        Apple does not document what that does to the ratings of `ids`, so each counts as written with an
        unknown outcome, unless Apple was not reached or refused the request.
        """
        self._apple.check(user)
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
        self, work: Coroutine[Any, Any, AppleSuccess | GatewayError], deadline: float
    ) -> AppleSuccess:
        writing = self._tasks.spawn("write", work)
        left = None if deadline == math.inf else max(0.0, deadline - self._clock.monotonic())
        done, _ = await asyncio.wait([writing], timeout=left)
        if not done:
            raise DeadlineExceeded("The write was not confirmed in time; it may still be carried out.")
        answer = writing.result()
        if isinstance(answer, GatewayError):
            raise answer
        return answer

    async def _write(
        self, call: Outbound, kind: Kind, id_: Id, value: int | None, deadline: float, requester: Requester
    ) -> AppleSuccess | GatewayError:
        write = await self._cache.begin_write(call.user, kind, id_)
        answer: AppleSuccess | GatewayError
        outcome: Outcome = UNKNOWN
        try:
            answer = await self._apple.send(call, deadline, Waiters(requester))
            outcome = None if value is None else _rated(kind, id_, value, answer)
        except GatewayError as error:
            answer = error
            outcome = _failed(error, value)
        finally:
            held = await self._cache.end_write(write, outcome)
        if held and self._on_written is not None and not isinstance(outcome, Unwritten):
            self._on_written(call.user, kind, id_, outcome)
        return answer

    async def _send_favorites(
        self, call: Outbound, ids: Sequence[tuple[Kind, Id]], deadline: float, requester: Requester
    ) -> AppleSuccess | GatewayError:
        writes: list[Write] = []
        for piece in chunks(ids, FAVORITES_AT_ONCE):
            begun = (self._cache.begin_write(call.user, kind, id_) for kind, id_ in piece)
            writes += await asyncio.gather(*begun)
        answer: AppleSuccess | GatewayError
        outcome: Outcome = UNKNOWN
        try:
            answer = await self._apple.send(call, deadline, Waiters(requester))
        except GatewayError as error:
            answer = error
            outcome = UNCHANGED if _failed(error, 1) is UNCHANGED else UNKNOWN
        finally:
            for ended in chunks(writes, FAVORITES_AT_ONCE):
                await asyncio.gather(*(self._cache.end_write(write, outcome) for write in ended))
        return answer


def _rated(kind: Kind, id_: Id, value: int, answer: AppleSuccess) -> Outcome:
    """The resource as Apple now has it; unknown if the answer contradicts what was written."""
    resource = written_resource(kind, id_, value, answer.body)
    return UNKNOWN if resource is None else resource


def _failed(error: GatewayError, value: int | None) -> Outcome:
    """The outcome of a write that Apple did not confirm."""
    match error:
        case UpstreamError(recalled=True):
            return UNCHANGED
        case Relayed(code="40400") if value is None:
            return None
        case Relayed(code="40402"):
            return UNKNOWN
        case Relayed(status=status):
            return UNCHANGED if status < 500 else UNKNOWN
        case Unreachable(sent=False) | BreakerOpen() | NoCapacity():
            return UNCHANGED
        case _:
            return UNKNOWN
