"""One connection to Redis on the wire (RESP2).

Packed commands go out, parsed replies come in, in order; what they mean is decided elsewhere. Replies are
parsed by hiredis and handed over in `data_received`, without a task or stream in between.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from hiredis import Reader, pack_command
from redis.exceptions import InvalidResponse, ResponseError

from gateway.cache.redis.errors import reply_error

_INCOMPLETE = object()


def pack(*parts: str | bytes | int) -> bytes:
    """A command in wire format."""
    packed: bytes = pack_command(parts)  # type: ignore[arg-type]  # the stub allows tuples of one only
    return packed


class RedisConnection(asyncio.Protocol):
    """A connection. At first each reply answers the oldest `execute`; `attach` passes them to one receiver.

    It closes itself on bytes that are not RESP, on an unrequested reply, and on error replies about
    the connection rather than a command (NOAUTH, LOADING).
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reader = Reader(
            protocolError=InvalidResponse, replyError=reply_error, notEnoughData=_INCOMPLETE
        )
        self._executing: deque[asyncio.Future[Any]] = deque()
        self._on_reply: Callable[[Any], None] = self._answer
        self._on_writable: Callable[[], None] | None = None
        self._lost: asyncio.Future[Exception] = self._loop.create_future()
        self.writable = True
        """False while more bytes wait in this process than the transport buffers."""

    def attach(self, on_reply: Callable[[Any], None], on_writable: Callable[[], None] | None = None) -> None:
        """Hand every later reply to `on_reply`. What it raises closes the connection."""
        self._on_reply = on_reply
        self._on_writable = on_writable

    def write(self, packed: bytes) -> None:
        """Send packed commands; without effect on a closed connection."""
        if self._transport is not None and not self._lost.done():
            self._transport.write(packed)

    async def execute(self, *command: str | bytes | int) -> Any:
        """Send one command and return its reply. Raises error replies, and why the connection was lost."""
        if self._lost.done():
            raise self._lost.result()
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._executing.append(answer)
        self.write(pack(*command))
        return await answer

    @property
    def lost(self) -> bool:
        """Whether it is closed, by either side."""
        return self._lost.done()

    async def wait_lost(self) -> Exception:
        """Wait until the connection is lost; why it was."""
        await asyncio.wait([self._lost])  # unlike awaiting it, leaves it alone when cancelled
        return self._lost.result()

    def close(self, reason: Exception) -> None:
        """Close at once: unsent bytes are dropped, and the peer's end of TLS is not waited for.

        Otherwise the socket to a Redis that reads nothing would stay open for as long as kernel or TLS wait.
        """
        if self._lost.done():
            return
        self._lost.set_result(reason)
        if self._transport is not None:
            self._transport.abort()
        for answer in self._executing:
            if not answer.done():
                answer.set_exception(reason)
                answer.exception()  # retrieved, so that asyncio does not log it if the caller has left
        self._executing.clear()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transport is not a subclass of it

    def connection_lost(self, exc: Exception | None) -> None:
        self.close(exc or ConnectionError("Redis closed the connection"))

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        if self._on_writable is not None:
            self._on_writable()

    def data_received(self, data: bytes) -> None:
        gets = self._reader.gets
        try:
            self._reader.feed(data)
            while not self._lost.done() and (reply := gets()) is not _INCOMPLETE:
                if isinstance(reply, Exception) and not isinstance(reply, ResponseError):
                    raise reply  # noqa: TRY301 - it ends the connection as any other does
                self._on_reply(reply)
        except Exception as error:  # noqa: BLE001 - a receiver rejects replies by any exception
            self.close(error)

    def _answer(self, reply: Any) -> None:
        if not self._executing:
            raise InvalidResponse("a reply to no request")
        answer = self._executing.popleft()
        if answer.done():
            return
        if isinstance(reply, Exception):
            answer.set_exception(reply)
        else:
            answer.set_result(reply)
