"""The API listener: aiohttp's low-level server, with connections of our own."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from gateway.tasks import Tasks
from gateway.web.api import Api
from gateway.web.body import MAX_BODY_BYTES
from gateway.web.connection import Connection, ListenerContext
from gateway.web.connection_limit import ConnectionLimit
from gateway.web.heads import MAX_HEADER_BYTES, MAX_HEADERS, MAX_TARGET_BYTES

LINGERING_SECONDS: Final = 2.0
NEVER_SECONDS: Final = 10 * 365 * 86400.0
"""aiohttp does not see most requests; `Connection` closes unused connections itself."""


class ApiServer(web.Server):
    """Makes connections, within `limit`, and the requests of those that aiohttp answers."""

    def __init__(self, api: Api, tasks: Tasks, limit: ConnectionLimit) -> None:
        super().__init__(self._handle, request_factory=self._begin_request)
        self._context = ListenerContext(api, tasks, limit)
        self.accepted = 0
        """Connections made so far."""
        self._limits: Mapping[str, Any] = {
            "access_log": None,
            "auto_decompress": False,
            "keepalive_timeout": NEVER_SECONDS,
            "lingering_time": LINGERING_SECONDS,
            "max_line_size": MAX_TARGET_BYTES,
            "max_field_size": MAX_HEADER_BYTES,
            "max_headers": MAX_HEADERS,
        }

    def __call__(self) -> RequestHandler:
        self.accepted += 1
        return Connection(self._context, self, **self._limits)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, Connection)
        return await connection.handle(request)

    def _begin_request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        connection: RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        loop = asyncio.get_running_loop()
        request = web.BaseRequest(
            message, payload, connection, writer, task, loop, client_max_size=MAX_BODY_BYTES
        )
        assert isinstance(connection, Connection)
        # aiohttp drops what arrives together with a request for an upgrade that it does not make.
        connection.begin_request(request, last=message.upgrade)
        return request
