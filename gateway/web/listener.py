"""The API listener itself: aiohttp's low-level server, so that a hit costs little more than the framework."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import HttpVersion11, StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler

from gateway.errors import GatewayError, Refused
from gateway.web.api import MAX_BODY_BYTES, Api

MAX_TARGET_BYTES = 512 * 1024
MAX_HEADER_BYTES = 16 * 1024
MAX_HEADERS = 100
KEEPALIVE_SECONDS = 75.0
LINGERING_SECONDS = 2.0


class _Connection(RequestHandler):
    """One connection: hits are answered as they are parsed, and what is no HTTP gets the envelope too."""

    __slots__ = ("_api",)

    def __init__(self, api: Api, server: web.Server, **limits: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **limits)
        self._api = api
        self._parser = _HitsFirst(self._parser, self)  # type: ignore[assignment]  # stands in for the parser

    def answer_at_once(self, message: RawRequestMessage) -> bool:
        """Answer a request that was just parsed, if the connection is idle and it is a hit.

        The ordinary road makes a task, a request and a response, and wakes twice: a third of a hit's cost.
        """
        idle = self._waiter is not None and not self._waiter.done() and not self._messages
        if not idle or self._paused or message.should_close or message.version != HttpVersion11:
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
        messages, upgraded, tail = self._parser.feed_data(data)
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
