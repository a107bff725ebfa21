"""One HTTP connection. Plain GETs are answered here; everything else is left to aiohttp.

aiohttp spends two tasks, a request object and a response object on each request: a third of a cache hit's
cost. A request that arrives while nothing else is in progress, and that is a GET or HEAD without a body, is
therefore parsed by a parser of our own and answered from `Api.begin`, or by one task. Requests of all
connections are looked up together, and answered together, once per turn of the event loop.

Anything else goes to aiohttp byte for byte. A request with a determined end (it has no body, or a
`Content-Length`) is handed over, and the connection is ours again after its answer. In any doubt (chunked
bodies, HTTP/1.0, errors) aiohttp keeps the connection for good. What arrives behind a request that is not
answered yet waits here, and reading pauses: aiohttp would read on, and bound messages, not bytes.
"""

import asyncio
from typing import Any, cast

from aiohttp import web

from gateway.tasks import Tasks
from gateway.web.accepted import Accepted
from gateway.web.aiohttp_connection import AiohttpConnection
from gateway.web.api import Api
from gateway.web.callback_batch import CallbackBatch
from gateway.web.connection_limit import ConnectionLimit
from gateway.web.connection_state import ConnectionState
from gateway.web.heads import END_OF_HEAD, HeadParser, ReceiveBuffer
from gateway.web.response import WholeResponse
from gateway.web.target import READS
from gateway.web.timers import Timers


class ListenerContext:
    """What all connections of a listener share."""

    def __init__(self, api: Api, tasks: Tasks, limit: ConnectionLimit) -> None:
        self.api = api
        self.tasks = tasks
        self.limit = limit
        self.parser = HeadParser()
        self.to_look_up = CallbackBatch(Connection.look_up)
        self.to_answer = CallbackBatch(Connection.answer)


class Connection(AiohttpConnection):
    """aiohttp's connection, which answers plain GETs itself."""

    __slots__ = (
        "_body_left", "_closing", "_half_closed", "_head", "_input", "_listener", "_response",
        "_state", "_timers",
    )  # fmt: skip

    def __init__(self, listener: ListenerContext, server: web.Server, **limits: Any) -> None:
        super().__init__(listener.api, server, **limits)
        self._listener = listener
        self._timers = Timers(asyncio.get_running_loop())
        self._state = ConnectionState.IDLE
        self._input = ReceiveBuffer()
        self._head = b""
        """The request that was taken."""
        self._response: WholeResponse | None = None
        """The answer to it."""
        self._body_left = 0
        """Bytes of a handed-over request's body that have not arrived yet."""
        self._half_closed = False
        self._closing = False

    @property
    def busy(self) -> bool:
        """Whether a request is being answered, or part of one has arrived."""
        answering = self._state in (ConnectionState.ANSWERING, ConnectionState.AIOHTTP_ONCE)
        return answering or bool(self._input) or super().busy

    # Receiving

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Serve the connection, or close it at once if there are too many."""
        if not self._listener.limit.admit(self):
            cast("asyncio.Transport", transport).abort()
            return
        super().connection_made(transport)
        self._timers.close_if_unused(lambda: self.busy, self.force_close)

    def data_received(self, data: bytes) -> None:
        """Take a complete head, keep a partial one, and pass on what is aiohttp's."""
        # aiohttp feeds itself empty data, to go on with what it has buffered.
        if self._state is ConnectionState.AIOHTTP or not data:
            self._pass_on(data)
        elif self._state is ConnectionState.AIOHTTP_ONCE:
            self._input += data
            self._pass_on_body()
        elif (
            self._state is ConnectionState.IDLE
            and not self._input
            and not self.writing_paused
            and data.find(END_OF_HEAD) == len(data) - len(END_OF_HEAD)
        ):
            self._take(data)
        else:
            self._input += data
            self._take_next()

    def _take_next(self) -> None:
        """Take the next request from the input; if there is no complete one, go on reading."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        if self._state is not ConnectionState.IDLE or self.writing_paused:
            self._input.pause(self.transport)
            return
        head = self._input.take_head()
        if head is None:
            self._await_rest()
        else:
            self._take(head)

    def _await_rest(self) -> None:
        """Keep what may be the beginning of a head; leave anything else to aiohttp, which refuses it."""
        if self._half_closed:
            self._end()
            return
        self._input.resume(self.transport)
        if not self._input:
            return
        if not self._input.may_become_head():
            self._leave_to_aiohttp()
        else:
            self._timers.head_begins(self.force_close)

    def _take(self, head: bytes) -> None:
        self._timers.head_ends()
        self._state = ConnectionState.ANSWERING
        self._head = head
        self._listener.to_look_up.add(self)

    # Answering

    def look_up(self) -> None:
        """Answer the request that was taken from memory, or start to; hand it over if it is not plain."""
        if self.transport is None:
            return
        head, self._head = self._head, b""
        parsed = self._listener.parser.parse(head)
        if parsed is None:
            self._leave_to_aiohttp(head)
            return
        message, body_length = parsed
        if message.method not in READS or body_length != 0:
            if body_length is None:
                self.expect_chunks()
                self._leave_to_aiohttp(head)
            else:
                self._hand_over(head, body_length)
            return
        begun = self.api.begin(message.method, message.path, message.headers)
        if isinstance(begun, WholeResponse):
            self._response = begun
            self._listener.to_answer.add(self)
        else:
            self.running = self._listener.tasks.spawn("request", self._run(begun))

    async def _run(self, accepted: Accepted) -> None:
        self._response = await self.api.run(accepted, None)
        self._listener.to_answer.add(self)

    def answer(self) -> None:
        """Write the answer to the request that was taken, and take the next."""
        response, self._response, self.running = self._response, None, None
        transport = self.transport
        if response is not None and transport is not None and not transport.is_closing():
            transport.write(response.whole)
            self._timers.used()
            self._state = ConnectionState.IDLE
            if self._closing or not response.keep_alive:
                self._end()
            elif self._input or self._input.paused or self._half_closed:
                self._take_next()
        self.finished()

    def _end(self) -> None:
        """Close the connection once everything is written."""
        super().close()
        if self.transport is not None:
            self.transport.close()

    # Handing over

    def _hand_over(self, head: bytes, body_length: int) -> None:
        """Let aiohttp answer one request, of whose body part may have arrived."""
        self._state = ConnectionState.AIOHTTP_ONCE
        self._body_left = body_length
        self._pass_on(head)
        self._pass_on_body()

    def _pass_on_body(self) -> None:
        """Pass on what is of the handed-over request, and read no more while something follows it."""
        body = self._input.take(self._body_left)
        self._body_left -= len(body)
        self._pass_on(body)
        if self._input:
            self._input.pause(self.transport)
        else:
            self._input.resume(self.transport)

    def _leave_to_aiohttp(self, data: bytes = b"") -> None:
        """Let aiohttp have the connection for good, beginning with `data` and what else was received."""
        self._state = ConnectionState.AIOHTTP
        self._input.resume(self.transport)
        self._pass_on(data + self._input.take(len(self._input)))
        if self._closing:
            self._end_soon()

    def _pass_on(self, data: bytes) -> None:
        if data and self._state is ConnectionState.AIOHTTP and self.current is None:
            self._timers.head_begins(self.force_close)
        self.feed(data)

    def begin_request(self, request: web.BaseRequest, *, last: bool) -> None:
        """Note that aiohttp begins to answer a request. Behind one that is handed over, nothing is lost."""
        super().begin_request(request, last=last and self._state is ConnectionState.AIOHTTP)
        self._timers.head_ends()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write an answer of aiohttp's; take the connection back if the whole request has arrived."""
        finished = await super().finish_response(request, resp, start_time)
        self._timers.used()
        if self._state is ConnectionState.AIOHTTP_ONCE:
            whole = request.content.is_eof() and not self._body_left
            self._state = ConnectionState.IDLE if whole and resp.keep_alive else ConnectionState.AIOHTTP
            if self._input:
                self._take_next() if self._state is ConnectionState.IDLE else self._leave_to_aiohttp()
        if self._closing:
            super().close()
        if self._half_closed and self._state is not ConnectionState.ANSWERING:
            self._end_soon()
        self.finished()
        return finished

    # Bounds

    def pause_writing(self) -> None:
        """Take no more requests while the caller does not read, and abort if that lasts."""
        super().pause_writing()
        if self.transport is not None:
            self._timers.reading_stopped(self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._timers.reading_resumed()
        if self._input or self._input.paused or self._half_closed:
            self._take_next()

    # Ending

    def eof_received(self) -> bool:  # type: ignore[override]  # aiohttp lets the transport close at once
        """The caller sends no more. It may still wait for answers; the connection is closed after them."""
        self._half_closed = True
        if self._state is ConnectionState.IDLE:
            self._take_next()
        elif self._state is not ConnectionState.ANSWERING:
            self._end_soon()
        return True

    def _end_soon(self) -> None:
        """Close the connection unless aiohttp begins with another request."""
        # It needs two turns of the loop to begin with what it was handed.
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, self._end_if_nothing_came, self.steps)

    def _end_if_nothing_came(self, steps: int) -> None:
        if self.transport is None or self._state is ConnectionState.ANSWERING:
            return
        if self.current is None:
            ended = self.steps == steps
        else:
            ended = self._half_closed and not self.current.content.is_eof()
        if ended:
            self._end()

    def close(self) -> None:
        """Take no more requests; one that was taken, or waits here in part, is answered first."""
        self._closing = True
        if self._state is ConnectionState.IDLE and not self._input:
            self._end()
        elif self._state is ConnectionState.AIOHTTP and self.current is None:
            self._end_soon()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop the timers; pass the loss on once aiohttp has begun with what it was handed."""
        self._listener.limit.release(self)
        self._timers.stop()
        self.finished(lost=True)
        if self._state in (ConnectionState.AIOHTTP_ONCE, ConnectionState.AIOHTTP) and self.current is None:
            # aiohttp would fail if it were to begin with a request after it has lost its connection.
            asyncio.get_running_loop().call_soon(super().connection_lost, exc)
        else:
            super().connection_lost(exc)
