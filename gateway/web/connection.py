"""One connection of a caller: hits are answered without aiohttp's tasks, and what is no HTTP by the envelope.

A request that comes alone to an idle connection is *taken*: it is looked up right after those of other
connections, answered from the local tier or as Redis answers, and answers too are written one right after
the other. Until then whatever else comes waits unread. What turns out to be no hit, and all else, goes
aiohttp's road, which makes two tasks, a request and a response of it: a third of a hit's cost.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from aiohttp import HttpVersion11, StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler

from gateway.errors import GatewayError, Refused
from gateway.web.api import Api
from gateway.web.callback_batch import CallbackBatch
from gateway.web.response import WholeResponse

MAX_TARGET_BYTES = 512 * 1024
MAX_HEADER_BYTES = 16 * 1024
HEAD_SECONDS = 10.0
"""From the first byte of a request that comes in pieces to the end of its headers."""
UNREAD_SECONDS = 60.0
"""A caller that reads nothing for so long, while its answers fill the connection's buffer, is given up."""

Message = tuple[RawRequestMessage, StreamReader]


class Connection(RequestHandler):
    """aiohttp's connection, with a way past its tasks for hits."""

    __slots__ = (
        "_api", "_closes", "_ended", "_half_closed", "_head_timer", "_hits_first", "_outcome",
        "_rounds", "_taken", "_unread_timer",
    )  # fmt: skip

    def __init__(self, api: Api, rounds: "Rounds", server: web.Server, **limits: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **limits)
        self._api = api
        self._rounds = rounds
        self._half_closed = False
        self._closes = False
        """Whether the request that was taken is the last one."""
        self._head_timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None
        self._taken: Message | None = None
        self._outcome: WholeResponse | None = None
        """What has become of the request that was taken."""
        self._ended: asyncio.Future[None] | None = None
        """Made where somebody waits for its end."""
        self._hits_first = _HitsFirst(self._parser, self)
        self._parser = self._hits_first  # type: ignore[assignment]  # stands in for it

    @property
    def idle(self) -> bool:
        """Whether no request is being answered or waits for it."""
        waits = self._waiter is not None and not self._waiter.done()
        return waits and self._taken is None and not self._messages

    @property
    def has_taken(self) -> bool:
        """Whether a request was taken that is not answered yet."""
        return self._taken is not None

    def head_has_come(self) -> None:
        """A request's head is complete."""
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def head_is_coming(self) -> None:
        """A part of a request's head has come: the rest must follow in time."""
        if self._head_timer is None and self.idle:
            self._head_timer = self._loop.call_later(HEAD_SECONDS, self.force_close)

    def body_is_broken(self, error: HttpProcessingError) -> None:
        """What has just come can be no part of the body that is being read: nobody must wait for the rest."""
        request = self._current_request
        if request is not None and not request.content.is_eof():
            request.content.set_exception(error)

    def pause_writing(self) -> None:
        """The buffer is full."""
        super().pause_writing()
        if self.transport is not None:
            self._unread_timer = self._loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """The buffer has room again."""
        super().resume_writing()
        if self._unread_timer is not None:
            self._unread_timer.cancel()

    def eof_received(self) -> bool:  # type: ignore[override]  # aiohttp always closes
        """The caller will send no more; True: it may still be waiting for answers, and then we close."""
        bodies = [payload for _, payload in self._messages]
        if self._current_request is not None:
            bodies.append(self._current_request.content)
        if self.idle or not all(body.is_eof() for body in bodies):
            return False
        self._half_closed = True
        # The last answer may be out, and aiohttp not yet back from it.
        self._loop.call_soon(self._end_if_idle)
        return True

    def _end_if_idle(self) -> None:
        if self.idle and self.transport is not None:
            self.transport.close()

    def close(self) -> None:
        """Take up no more requests; one that was taken is answered first."""
        if self._taken is None:
            super().close()
        else:
            self._closes = True

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 - as aiohttp has it
        """Let what is in flight end within `timeout`, then cut it off: aiohttp would wait twice as long."""
        cut = None if timeout is None else self._loop.call_later(timeout, self._cut_off)
        try:
            if self._taken is not None:
                self._ended = self._loop.create_future()
                await asyncio.wait([self._ended], timeout=timeout)
            # A little more than ours: aiohttp trips over a handler that ends just as it gives up.
            await super().shutdown(None if timeout is None else timeout + 1)
        finally:
            if cut is not None:
                cut.cancel()

    def _cut_off(self) -> None:
        if self._task_handler is not None:
            self._task_handler.cancel()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write an answer; the last one that a half-closed connection waits for ends it."""
        finished = await super().finish_response(request, resp, start_time)
        if self._half_closed and not self._messages:
            resp.force_close()
        return finished

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is closed."""
        if self._task_handler is not None and self._waiter is not None and self._waiter.done():
            # Called to a request, but not there yet: aiohttp would find nothing left to make one with.
            self._task_handler.cancel()
        super().connection_lost(exc)
        # It holds the connection: together, only the garbage collector would free them.
        del self._hits_first
        for timer in (self._head_timer, self._unread_timer):
            if timer is not None:
                timer.cancel()

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """What a caller sent could not be read to its end; it was answered 400, and the text quotes it."""
        if not isinstance(kw.get("exc_info"), HttpProcessingError):
            super().log_exception(*args, **kw)

    def take(self, message: RawRequestMessage, payload: StreamReader) -> bool:
        """Take a request that was just parsed, if it may be a hit; False: it is aiohttp's."""
        if payload is not EMPTY_PAYLOAD or message.should_close or message.version != HttpVersion11:
            return False
        if not self.idle or self._paused:
            return False
        self._taken = (message, payload)
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        self._rounds.to_look_up.add(self)
        return True

    def look_up(self) -> None:
        """Look for the answer to the request that was taken."""
        assert self._taken is not None
        message, _ = self._taken
        self._outcome = self._api.at_once(message.method, message.path, message.headers)
        self._rounds.to_answer.add(self)

    def answer(self) -> None:
        """Write the answer to the request that was taken; without one, let aiohttp have the request."""
        (taken, self._taken), (outcome, self._outcome) = (self._taken, None), (self._outcome, None)
        if self.transport is not None and not self.transport.is_closing() and taken is not None:
            if isinstance(outcome, WholeResponse):
                self._write(outcome)
            else:
                self._hits_first.give_back(taken)
            if self._closes:
                self.close()
            self._hits_first.read_on()
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def _write(self, response: WholeResponse) -> None:
        assert self.transport is not None
        self.transport.write(response.whole)
        self._hits_first.message_consumed()
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._half_closed or not response.keep_alive:
            self.close()
            self.transport.close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        del status, message
        return self._api.refuse(request, _refusal(exc))


class Rounds:
    """What all connections do in common, one right after the other: look requests up, and write answers."""

    def __init__(self) -> None:
        self.to_look_up = CallbackBatch(Connection.look_up)
        self.to_answer = CallbackBatch(Connection.answer)


class _HitsFirst:
    """The connection's parser, which hands on only what the connection does not take for itself."""

    def __init__(self, parser: Any, connection: Connection) -> None:
        self._parser = parser
        self._connection = connection
        self._given_back: Message | None = None
        self._unread = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)

    def feed_data(self, data: bytes) -> tuple[Sequence[Message], bool, bytes]:
        """As aiohttp's parser; raises what it raises."""
        if self._given_back is not None:
            given_back, self._given_back = self._given_back, None
            return (given_back,), False, b""
        if self._connection.has_taken:
            self._unread += data
            if self._connection.transport is not None:
                self._connection.transport.pause_reading()
            return (), False, b""
        try:
            messages, upgraded, tail = self._parser.feed_data(data)
        except HttpProcessingError as error:
            self._connection.body_is_broken(error)
            raise
        if messages:
            self._connection.head_has_come()
        else:
            self._connection.head_is_coming()
        if len(messages) == 1 and not upgraded and self._connection.take(*messages[0]):
            return (), False, tail
        return messages, upgraded, tail

    def give_back(self, taken: Message) -> None:
        """Let aiohttp have a request that the connection had taken."""
        self._given_back = taken
        self._connection.data_received(b"")

    def read_on(self) -> None:
        """Go on with what has come since the connection took a request."""
        if self._unread and self._connection.transport is not None:
            unread, self._unread = self._unread, b""
            self._connection.transport.resume_reading()
            self._connection.data_received(unread)


def _refusal(exc: BaseException | None) -> GatewayError:
    # The parser's own message quotes what it read, and that may be a user token: it goes nowhere.
    if not isinstance(exc, LineTooLong):
        return Refused(400, "40000", "Bad Request", "This is no well-formed HTTP request.")
    if str(MAX_TARGET_BYTES) in exc.message.partition(":")[0]:
        return Refused(414, "41400", "URI Too Long", f"A request target may have {MAX_TARGET_BYTES} bytes.")
    return Refused(431, "43100", "Header Too Large", f"A header may have {MAX_HEADER_BYTES} bytes.")
