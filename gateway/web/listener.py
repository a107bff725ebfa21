"""The API listener itself: aiohttp's low-level server, so that a hit costs little more than the framework."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import HttpVersion11, StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler

from gateway.errors import GatewayError, Refused
from gateway.web.api import Api
from gateway.web.intake import MAX_BODY_BYTES

MAX_TARGET_BYTES = 512 * 1024
MAX_HEADER_BYTES = 16 * 1024
MAX_HEADERS = 100
KEEPALIVE_SECONDS = 75.0
LINGERING_SECONDS = 2.0
HEAD_SECONDS = 10.0
"""From the first byte of a request that comes in pieces to the end of its headers."""
UNREAD_SECONDS = 60.0
"""A caller that reads nothing for so long, while its answers fill the connection's buffer, is given up."""


class _Connection(RequestHandler):
    """One connection: hits are answered as they are parsed, and what is no HTTP gets the envelope too."""

    __slots__ = ("_api", "_half_closed", "_head_timer", "_unread_timer")

    def __init__(self, api: Api, server: web.Server, **limits: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **limits)
        self._api = api
        self._half_closed = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None
        self._parser = _HitsFirst(self._parser, self)  # type: ignore[assignment]  # stands in for the parser

    @property
    def idle(self) -> bool:
        """Whether no request is being handled or waits for it."""
        return self._waiter is not None and not self._waiter.done() and not self._messages

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
        return True

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 - as aiohttp has it
        """Let what is in flight end within `timeout`, then cut it off: aiohttp would wait twice as long."""
        if timeout is None:
            await super().shutdown(None)
            return
        cut = self._loop.call_later(timeout, self._cut_off)
        try:
            # A little more than ours: aiohttp trips over a handler that ends just as it gives up.
            await super().shutdown(timeout + 1)
        finally:
            cut.cancel()

    def _cut_off(self) -> None:
        if self._task_handler is not None:
            self._task_handler.cancel()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write an answer; the last one that a half-closed connection waits for ends it."""
        if self._half_closed and not self._messages:
            resp.force_close()
        return await super().finish_response(request, resp, start_time)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is closed."""
        super().connection_lost(exc)
        for timer in (self._head_timer, self._unread_timer):
            if timer is not None:
                timer.cancel()

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """What a caller sent could not be read to its end; it was answered 400, and the text quotes it."""
        if not isinstance(kw.get("exc_info"), HttpProcessingError):
            super().log_exception(*args, **kw)

    def answer_at_once(self, message: RawRequestMessage) -> bool:
        """Answer a request that was just parsed, if the connection is idle and it is a hit.

        The ordinary road makes a task, a request and a response, and wakes twice: a third of a hit's cost.
        """
        if not self.idle or self._paused or message.should_close or message.version != HttpVersion11:
            return False
        response = self._api.at_once(message.method, message.path, message.headers)
        if response is None:
            return False
        assert self.transport is not None
        self.transport.write(response.whole)
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if not response.keep_alive:
            self.close()
            self.transport.close()
        return True

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        del status, message
        return self._api.refuse(request, _refusal(exc))


class _HitsFirst:
    """The connection's parser, which hands on only what was not answered at once."""

    def __init__(self, parser: Any, connection: _Connection) -> None:
        self._parser = parser
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)

    def feed_data(self, data: bytes) -> tuple[Sequence[Any], bool, bytes]:
        """As aiohttp's parser; raises what it raises."""
        try:
            messages, upgraded, tail = self._parser.feed_data(data)
        except HttpProcessingError as error:
            self._connection.body_is_broken(error)
            raise
        if messages:
            self._connection.head_has_come()
        else:
            self._connection.head_is_coming()
        if len(messages) == 1 and not upgraded:
            message, payload = messages[0]
            if payload is EMPTY_PAYLOAD and self._connection.answer_at_once(message):
                self._parser.message_consumed()
                return (), False, tail
        return messages, upgraded, tail


class Server(web.Server):
    """Makes connections and requests of our own kind."""

    def __init__(self, api: Api) -> None:
        super().__init__(api.handle, request_factory=self._request)
        self._api = api
        self._limits: Mapping[str, Any] = {
            "access_log": None,
            "auto_decompress": False,
            "keepalive_timeout": KEEPALIVE_SECONDS,
            "lingering_time": LINGERING_SECONDS,
            "max_line_size": MAX_TARGET_BYTES,
            "max_field_size": MAX_HEADER_BYTES,
            "max_headers": MAX_HEADERS,
        }

    def __call__(self) -> RequestHandler:
        return _Connection(self._api, self, **self._limits)

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        return web.BaseRequest(
            message, payload, protocol, writer, task, self._loop, client_max_size=MAX_BODY_BYTES
        )


def _refusal(exc: BaseException | None) -> GatewayError:
    # The parser's own message quotes what it read, and that may be a user token: it goes nowhere.
    if not isinstance(exc, LineTooLong):
        return Refused(400, "40000", "Bad Request", "This is no well-formed HTTP request.")
    if str(MAX_TARGET_BYTES) in exc.message.partition(":")[0]:
        return Refused(414, "41400", "URI Too Long", f"A request target may have {MAX_TARGET_BYTES} bytes.")
    return Refused(431, "43100", "Header Too Large", f"A header may have {MAX_HEADER_BYTES} bytes.")
