"""Requests to one Redis node: their replies, the batches that they are sent in, and their deadlines."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
from redis.exceptions import ResponseError

from gateway.breaker import Admission
from gateway.cache.redis.errors import FailureKind, RedisFailed
from gateway.clock import MICROSECONDS

REQUEST_BYTES = 1024
"""Memory that a pending request takes besides its own bytes."""
GRACE_SECONDS = 0.001
"""Grace period after a deadline: the event loop reads what has arrived before the request fails."""
TIMER_SECONDS = 0.001
"""Resolution of the event loop's timers."""


class Replies(msgspec.Struct, frozen=True):
    """Replies to one request. Error replies are among them as exceptions."""

    micros: int
    """Redis' time when it reached the batch that the request was sent in, µs since 1970."""
    replies: list[Any]

    @property
    def error(self) -> ResponseError | None:
        """The first error reply."""
        for reply in self.replies:
            if isinstance(reply, ResponseError):
                return reply
        return None


class Request:
    """`count` packed commands of one caller; `timeout` (seconds) counts from when they are sent."""

    __slots__ = ("admission", "cost", "count", "future", "packed", "replies", "timeout")

    def __init__(
        self,
        packed: bytes,
        count: int,
        timeout: float,
        admission: Admission | None,
        future: "asyncio.Future[Replies]",
    ) -> None:
        self.packed = packed
        self.count = count
        self.timeout = timeout
        self.admission = admission
        self.future = future
        self.cost = len(packed) + REQUEST_BYTES
        self.replies: list[Any] = []

    def fail(self, kind: FailureKind) -> None:
        if not self.future.done():
            self.future.set_exception(RedisFailed(kind))
            self.future.exception()  # retrieved, so that asyncio does not log it if the caller has left


class SendBatch:
    """Requests sent together. `deadlines` are the timeouts still to be checked, longest first."""

    __slots__ = ("answered", "deadlines", "requests", "sent_at", "unread")

    def __init__(self, requests: list[Request], sent_at: float) -> None:
        self.requests = requests
        self.sent_at = sent_at
        self.deadlines = sorted({request.timeout for request in requests}, reverse=True)
        self.answered = 0
        self.unread = True


class Deadlines:
    """Calls `on_timeout` with a batch in `sent` and each timeout of its requests, once that has passed.

    One timer serves all batches: nearly all are answered long before their deadlines.
    """

    def __init__(self, sent: deque[SendBatch], on_timeout: Callable[[SendBatch, float], object]) -> None:
        self._sent = sent
        self._on_timeout = on_timeout
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def watch(self, batch: SendBatch) -> None:
        """Check the deadlines of a batch that was just sent."""
        self._set_timer(batch.sent_at + batch.deadlines[-1])

    def cancel(self) -> None:
        """Stop checking until the next `watch`; call it when `sent` was cleared."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._check)

    def _check(self) -> None:
        self._timer = None
        now = self._loop.time() + TIMER_SECONDS
        for batch in self._sent:
            while batch.deadlines and batch.sent_at + batch.deadlines[-1] <= now:
                # If this process was late itself, the replies have arrived: they are read first.
                self._loop.call_later(GRACE_SECONDS, self._on_timeout, batch, batch.deadlines.pop())
        following = [batch.sent_at + batch.deadlines[-1] for batch in self._sent if batch.deadlines]
        if following:
            self._set_timer(min(following))


def micros(reply: Any) -> int:
    """Redis' time in microseconds, from the reply to TIME. Raises RedisFailed, or the error reply."""
    match reply:
        case Exception():
            raise reply
        case [bytes() as seconds, bytes() as part]:
            return int(seconds) * MICROSECONDS + int(part)
    raise RedisFailed(FailureKind.PROTOCOL)
