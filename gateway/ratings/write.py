"""The road of a write: drop what is cached, send, then keep what was written, with its hold.

A write that was begun is finished though its caller leaves, or its caller's time is up: half a write would
leave the tiers not knowing.
"""

import asyncio
import math

from gateway.apple.client import Apple, Outbound, Relay
from gateway.apple.response import written_resource
from gateway.cache.cache import Cache
from gateway.cache.write_rule import UNCHANGED, UNKNOWN, Outcome
from gateway.clock import Clock
from gateway.errors import BreakerOpen, DeadlineExceeded, GatewayError, NoCapacity, Relayed, Unreachable
from gateway.model import Id, Kind, Priority, User
from gateway.tasks import Tasks
from gateway.waiters import Requester, Waiters


class Writer:
    """Sends writes, and whatever else goes to Apple as it came; the calls are counted for the `requester`."""

    def __init__(self, *, cache: Cache, apple: Apple, tasks: Tasks, clock: Clock) -> None:
        self._cache = cache
        self._apple = apple
        self._tasks = tasks
        self._clock = clock

    async def write(
        self,
        user: User,
        kind: Kind,
        id_: Id,
        value: int | None,
        query: str,
        deadline: float,
        requester: Requester,
    ) -> Relay:
        """Rate `id_` (1 or -1), or take its rating away (None). Raises `UpstreamError`.

        `deadline` bounds the wait, and when an attempt may begin; one that was sent by then runs on.
        """
        body = None if value is None else b'{"type":"rating","attributes":{"value":%d}}' % value
        call = Outbound(
            method="DELETE" if value is None else "PUT",
            path=f"/v1/me/ratings/{kind}/{id_}",
            query=query,
            user=user,
            body=body,
            operation="delete" if value is None else "write",
        )
        writing = self._tasks.spawn("write", self._write(call, kind, id_, value, deadline, requester))
        left = None if deadline == math.inf else max(0.0, deadline - self._clock.monotonic())
        done, _ = await asyncio.wait([writing], timeout=left)
        if not done:
            raise DeadlineExceeded("The write was not confirmed in time; it may still be carried out.")
        answer = writing.result()
        if isinstance(answer, GatewayError):
            raise answer
        return answer

    async def bypass(self, user: User, path: str, query: str, deadline: float, requester: Requester) -> Relay:
        """Send a read to Apple as it came: it has a parameter that the cache knows nothing of."""
        call = Outbound(method="GET", path=path, query=query, user=user, body=None, operation="bypass")
        return await self._apple.send(call, deadline, Waiters(Priority.FOREGROUND, requester))

    async def _write(
        self, call: Outbound, kind: Kind, id_: Id, value: int | None, deadline: float, requester: Requester
    ) -> Relay | GatewayError:
        write = await self._cache.begin_write(call.user, kind, id_)
        answer: Relay | GatewayError
        outcome: Outcome = UNKNOWN
        try:
            answer = await self._apple.send(call, deadline, Waiters(Priority.FOREGROUND, requester))
            outcome = None if value is None else _rated(kind, id_, value, answer)
        except GatewayError as error:
            answer = error
            outcome = _failed(error, value)
        finally:
            await self._cache.end_write(write, outcome)
        return answer


def _rated(kind: Kind, id_: Id, value: int, relay: Relay) -> Outcome:
    """The resource as Apple now has it; an answer that contradicts what was written settles nothing."""
    resource = written_resource(kind, id_, value, relay.body)
    return UNKNOWN if resource is None else resource


def _failed(error: GatewayError, value: int | None) -> Outcome:
    """How a write that Apple did not confirm has ended."""
    match error:
        case Relayed(status=404) if value is None:
            return None
        case Relayed(status=status):
            return UNCHANGED if status < 500 else UNKNOWN
        case Unreachable(sent=False) | BreakerOpen() | NoCapacity():
            return UNCHANGED
        case _:
            return UNKNOWN
