"""The API listener itself: aiohttp's low-level server, so that a hit costs little more than the framework."""

import asyncio
from collections.abc import Mapping
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from gateway.errors import GatewayError, Refused
from gateway.web.api import MAX_BODY_BYTES, Api

MAX_TARGET_BYTES = 512 * 1024
MAX_HEADER_BYTES = 16 * 1024
MAX_HEADERS = 100
KEEPALIVE_SECONDS = 75.0
LINGERING_SECONDS = 2.0


class _Connection(RequestHandler):
    """One connection; what is no HTTP gets the envelope too."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        del status, message
        manager = self._manager
        assert isinstance(manager, Server)
        return manager.api.refuse(request, _refusal(exc))


class Server(web.Server):
    """Makes connections and requests of our own kind."""

    def __init__(self, api: Api) -> None:
        super().__init__(api.handle, request_factory=self._request)
        self.api = api
        self._limits: Mapping[str, Any] = {
            "access_log": None,
            "keepalive_timeout": KEEPALIVE_SECONDS,
            "lingering_time": LINGERING_SECONDS,
            "max_line_size": MAX_TARGET_BYTES,
            "max_field_size": MAX_HEADER_BYTES,
            "max_headers": MAX_HEADERS,
        }

    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=asyncio.get_running_loop(), **self._limits)

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
