"""Base class of `Connection`: aiohttp's handler with our errors, a body check and a bounded shutdown.

Malformed requests get the gateway's errors, a broken chunked body ends its request at once, and a shutdown
takes no longer than it was given. `Connection` decides which requests come here.
"""

import asyncio
from typing import Any, Final

from aiohttp import ClientConnectionResetError, web
from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError, LineTooLong
from aiohttp.web_protocol import RequestHandler

from gateway.errors import GatewayError, Refused
from gateway.web.api import Api
from gateway.web.heads import MAX_HEADER_BYTES, MAX_HEADERS, MAX_TARGET_BYTES, BodyCheck
from gateway.web.response import WholeResponse

CUT_OFF_SECONDS: Final = 0.05
"""How long the answer to a request that is cut off at the end of the drain may take."""
_TOO_MANY_HEADERS = "Too many headers received"
"""The text of aiohttp's error: no class of its own tells it from malformed input."""


class AiohttpResponse(web.StreamResponse):
    """An answer of the gateway, as aiohttp takes it."""

    def __init__(self, response: WholeResponse) -> None:
        super().__init__(status=response.status)
        self._gateway_response = response

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays open after it."""
        return self._gateway_response.keep_alive

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write the answer, and wait while the buffer is full: a slow reader must not fill the memory."""
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("The caller is gone.")
        transport.write(self._gateway_response.whole)
        if request.protocol.writing_paused:
            await request.writer.drain()

    async def write_eof(self, data: bytes = b"") -> None:
        """Everything was written by `prepare`."""


class AiohttpConnection(RequestHandler):
    """aiohttp's connection, as far as the gateway leaves requests to it."""

    __slots__ = ("_body_check", "_body_error", "_done", "_last", "api", "current", "running", "steps")

    def __init__(self, api: Api, server: web.Server, **limits: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **limits)
        self.api = api
        self.current: web.BaseRequest | None = None
        """The request that aiohttp is answering."""
        self.running: asyncio.Task[Any] | None = None
        """The task that makes an answer."""
        self.steps = 0
        """How often aiohttp has begun with a request, or finished one."""
        self._last = False
        """Whether no other request can be answered after the current one."""
        self._body_check: BodyCheck | None = None
        self._body_error: HttpProcessingError | None = None
        self._done: asyncio.Future[None] | None = None
        """Made when `shutdown` waits for the connection to be idle."""

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self.current is not None

    def expect_chunks(self) -> None:
        """Check the body of the request that begins with the next data."""
        self._body_check = BodyCheck()

    def feed(self, data: bytes) -> None:
        """Let aiohttp parse `data`."""
        super().data_received(data)
        if self._body_check is not None and data and (error := self._body_check.feed(data)) is not None:
            # aiohttp has its handler wait for the rest of a body that it can no longer parse.
            self._body_check = None
            self._body_error = error
            if self.current is not None:
                self.current.content.set_exception(error)

    def begin_request(self, request: web.BaseRequest, *, last: bool) -> None:
        """Note that aiohttp begins to answer a request; `last`: it loses those that follow."""
        self.current = request
        self._last = last
        self.steps += 1
        if self._body_error is not None and not request.content.is_eof():
            request.content.set_exception(self._body_error)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request that aiohttp has parsed."""
        self.running = asyncio.current_task()
        return AiohttpResponse(await self.api.handle(request, last=self._last))

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write an answer."""
        finished = await super().finish_response(request, resp, start_time)
        self.current = self.running = self._body_check = None
        self.steps += 1
        return finished

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        del status, message
        return AiohttpResponse(self.api.refuse(request, _refusal(exc)))

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Ignore requests that could not be parsed: they were answered 400, and the text quotes them."""
        if not isinstance(kw.get("exc_info"), HttpProcessingError):
            super().log_exception(*args, **kw)

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 - as aiohttp has it
        """Let what is in progress end within `timeout`, then cancel it, which answers it.

        aiohttp would wait twice as long, and for a request that it does not see without end.
        """
        if self.busy:
            self._done = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._done], timeout=timeout)
            if self.running is not None:
                self.running.cancel()
                await asyncio.wait([self._done], timeout=CUT_OFF_SECONDS)
            timeout = CUT_OFF_SECONDS
        await super().shutdown(timeout)

    def finished(self, *, lost: bool = False) -> None:
        """Let `shutdown` go on if nothing is in progress any more, or the connection is lost."""
        if self._done is not None and not self._done.done() and (lost or not self.busy):
            self._done.set_result(None)


def _refusal(exc: BaseException | None) -> GatewayError:
    # The parser's own message quotes what it read, which may be a user token: it is not shown.
    if isinstance(exc, BadHttpMessage) and exc.message == _TOO_MANY_HEADERS:
        return Refused(431, "43100", "Header Too Large", f"A request may have at most {MAX_HEADERS} headers.")
    if not isinstance(exc, LineTooLong):
        return Refused(400, "40000", "Bad Request", "The request is not well-formed HTTP.")
    if str(MAX_TARGET_BYTES) in exc.message.partition(":")[0]:
        detail = (
            f"The request target exceeds {MAX_TARGET_BYTES:,} bytes. "
            "To read many ids, send them in the body of POST /v1/me/ratings."
        )
        return Refused(414, "41400", "URI Too Long", detail)
    return Refused(431, "43100", "Header Too Large", f"A header may have at most {MAX_HEADER_BYTES:,} bytes.")
