"""The ops listener: aiohttp's low-level server with a router that is as strict as the API listener.

aiohttp's own application answers an unknown `Expect` with an error of its own, logs malformed requests as
errors, quotes what it received, and names its version in `Server`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

from aiohttp import HttpVersion11, StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import RequestHandler
from structlog.typing import FilteringBoundLogger

from gateway.expect_header import send_continue
from gateway.host_header import is_allowed

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

BODY_SECONDS = 10.0
"""Within which a request's body must have arrived."""
HEAD_SECONDS = 10.0
"""Within which the head of a connection's first request must have arrived; later ones have the idle time."""
MAX_BODY_BYTES: Final = 1024 * 1024
SERVER: Final = "ratings-gateway"
"""Without it aiohttp names its version, and Python's."""


class OpsServer(web.Server):
    """Routes requests to `routes`. A request's body has arrived in full before its handler runs."""

    def __init__(
        self, routes: Iterable[web.RouteDef], log: FilteringBoundLogger, *, keepalive_seconds: float
    ) -> None:
        super().__init__(self._handle, request_factory=self._request)  # type: ignore[arg-type]  # gets our requests
        self._routes: dict[str, dict[str, Handler]] = {}
        for route in routes:
            methods = self._routes.setdefault(route.path, {})
            methods[route.method] = route.handler
            if route.method == "GET":
                methods["HEAD"] = methods["GET"]
        self._log = log
        self._limits: Mapping[str, Any] = {"access_log": None, "keepalive_timeout": keepalive_seconds}

    def __call__(self) -> RequestHandler:
        return _OpsConnection(self, loop=asyncio.get_running_loop(), **self._limits)

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.Request:
        assert isinstance(protocol, _OpsConnection)
        protocol.head_arrived()
        loop = asyncio.get_running_loop()
        return web.Request(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY_BYTES)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            response = await self._answer(request)
        except web.HTTPException as refusal:
            refusal.headers["Server"] = SERVER
            raise
        except Exception as error:  # noqa: BLE001 - a bug costs one answer, and is logged without the request
            path = request.path if request.path in self._routes else "unmatched"
            self._log.error("bug", where=f"ops {path}", exc_info=error)
            response = web.Response(status=500, text="The gateway failed; its log has the details.\n")
        response.headers["Server"] = SERVER
        return response

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        hosts = request.headers.getall("Host", ())
        needed = request.version >= HttpVersion11
        if not (needed <= len(hosts) <= 1 and all(map(is_allowed, hosts))):
            raise web.HTTPBadRequest(text="The request needs one well-formed Host header.\n")
        methods = self._routes.get(request.path)
        if methods is None:
            raise web.HTTPNotFound(text="No such page. / lists all pages.\n")
        handler = methods.get(request.method)
        if handler is None:
            raise web.HTTPMethodNotAllowed(request.method, sorted(methods))
        await _read_body(request)
        return await handler(request)


class _OpsConnection(RequestHandler):
    """A connection on which malformed requests are answered 400 and not logged, and slow ones are cut off."""

    __slots__ = ("_answering", "_half_closed", "_head_timer", "_steps")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._answering = self._half_closed = False
        self._steps = 0
        self._head_timer = asyncio.get_running_loop().call_later(HEAD_SECONDS, self.force_close)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._head_timer.cancel()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]  # aiohttp lets the transport close at once
        """The caller sends no more, but may still wait for an answer: the connection is closed after that."""
        self._half_closed = True
        self._close_soon()
        return True

    def head_arrived(self) -> None:
        """The head of a request is complete."""
        self._head_timer.cancel()
        self._answering = True
        self._steps += 1

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        finished = await super().finish_response(request, resp, start_time)
        self._answering = False
        self._steps += 1
        if self._half_closed:
            self._close_soon()
        return finished

    def _close_soon(self) -> None:
        """Close the connection unless aiohttp begins with another request."""
        # It needs two turns of the loop to begin with what has arrived.
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, self._close_if_unused, self._steps)

    def _close_if_unused(self, steps: int) -> None:
        if self.transport is not None and not self._answering and self._steps == steps:
            self.transport.close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        del request, exc, message  # the parser's message quotes what it read, which may be a token
        text = "This is not a well-formed HTTP request.\n" if status < 500 else "The gateway failed.\n"
        response = web.Response(status=status, text=text, headers={"Server": SERVER})
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        if not isinstance(kw.get("exc_info"), HttpProcessingError | web.RequestPayloadError):
            super().log_exception(*args, **kw)


async def _read_body(request: web.Request) -> None:
    if not request.body_exists:
        return
    send_continue(request)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="The body did not arrive in time.\n") from None
    except (web.RequestPayloadError, HttpProcessingError):
        raise web.HTTPBadRequest(text="The body cannot be read.\n") from None
