"""Requests to Redis that are sent together, and their replies."""

import asyncio
from typing import Any

import msgspec
from redis.exceptions import ResponseError

from gateway.breaker import Admission
from gateway.cache.redis.errors import FailureKind, RedisFailed

REQUEST_BYTES = 1024
"""Memory that a pending request takes besides its own bytes."""


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
            self.future.exception()  # its caller may have left: not a fault to report


class SendBatch:
    """Requests sent together. `deadlines` are the timeouts still to be checked, longest first."""

    __slots__ = ("answered", "deadlines", "requests", "sent_at", "unread")

    def __init__(self, requests: list[Request], sent_at: float) -> None:
        self.requests = requests
        self.sent_at = sent_at
        self.deadlines = sorted({request.timeout for request in requests}, reverse=True)
        self.answered = 0
        self.unread = True


def micros(reply: Any) -> int:
    """Redis' time in microseconds, from the reply to TIME. Raises Failed, or the error reply."""
    match reply:
        case Exception():
            raise reply
        case [bytes() as seconds, bytes() as part]:
            return int(seconds) * 1_000_000 + int(part)
    raise RedisFailed(FailureKind.PROTOCOL)
