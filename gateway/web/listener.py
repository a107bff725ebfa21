"""The API listener itself: aiohttp's low-level server, so that a hit costs little more than the framework."""

import asyncio
from collections.abc import Mapping
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from gateway.web.api import Api
from gateway.web.connection import MAX_HEADER_BYTES, MAX_TARGET_BYTES, Connection, Rounds
from gateway.web.intake import MAX_BODY_BYTES

MAX_HEADERS = 100
KEEPALIVE_SECONDS = 75.0
LINGERING_SECONDS = 2.0


class Server(web.Server):
    """Makes connections and requests of our own kind."""

    def __init__(self, api: Api) -> None:
        super().__init__(api.handle, request_factory=self._request)
        self._api = api
        self._rounds = Rounds()
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
        return Connection(self._api, self._rounds, self, **self._limits)

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
