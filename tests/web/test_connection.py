"""Which requests a connection answers itself, and what it leaves to aiohttp; over real sockets."""

import asyncio
import gc
import struct
from collections.abc import AsyncIterator, Callable
from socket import SO_LINGER, SOL_SOCKET
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from gateway.errors import GatewayError
from gateway.tasks import Tasks
from gateway.web import timers
from gateway.web.connection import Connection
from gateway.web.listener import ApiServer
from gateway.web.response import WholeResponse
from tests.waiting import until


def answer(text: str, *, keep_alive: bool = True) -> WholeResponse:
    return WholeResponse(200, "", text.encode(), keep_alive=keep_alive)


class ScriptedApi:
    """/hit is answered at once, /wait/… when the test says so; what aiohttp parses is recorded."""

    def __init__(self) -> None:
        self.waiting: dict[str, asyncio.Future[None]] = {}
        self.handled: list[str] = []
        self.keep_alive = True
        self.stuck: asyncio.Event | None = None
        """What aiohttp parses waits for it."""

    def begin(self, method: str, path: str, headers: Any) -> Any:
        if path == "/hit":
            return WholeResponse(200, "", b"hit", keep_alive=self.keep_alive, bodiless=method == "HEAD")
        return SimpleNamespace(path=path)

    async def run(self, accepted: Any, request: web.BaseRequest | None) -> WholeResponse:
        path = accepted.path
        future = self.waiting[path] = asyncio.get_running_loop().create_future()
        await future
        return answer(f"waited {path}", keep_alive=self.keep_alive)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.handled.append(f"{request.method} {request.path}")
        if self.stuck is not None:
            await self.stuck.wait()
        body = await request.read()
        return answer(f"handled {request.path} {len(body)}", keep_alive=request.keep_alive)

    def refuse(self, request: web.BaseRequest, error: GatewayError) -> web.StreamResponse:
        return answer(f"refused {error.status}", keep_alive=False)

    async def asked(self, path: str) -> asyncio.Future[None]:
        await until(lambda: path in self.waiting)
        return self.waiting[path]


class Caller:
    """The other end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *paths: str, method: str = "GET", extra: str = "", body: bytes = b"") -> None:
        heads = [f"{method} {path} HTTP/1.1\r\nHost: x\r\n{extra}\r\n" for path in paths]
        self.writer.write("".join(heads).encode() + body)

    async def answer(self, *, bodiless: bool = False) -> str:
        async with asyncio.timeout(5):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            length = int(head.partition("Content-Length: ")[2].partition("\r\n")[0])
            return "" if bodiless else (await self.reader.readexactly(length)).decode()

    def reset(self) -> None:
        self.writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def closed(self) -> bool:
        async with asyncio.timeout(5):
            return await self.reader.read() == b""


def transport_of(server: ApiServer) -> asyncio.Transport:
    """The gateway's end of the only connection."""
    (connection,) = server.connections
    assert connection.transport is not None
    return connection.transport


async def turns(count: int = 50) -> None:
    """Let the loop turn until what was sent has arrived; loopback needs a few turns."""
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.fixture
async def api() -> ScriptedApi:
    return ScriptedApi()


@pytest.fixture
async def bugs() -> AsyncIterator[list[Any]]:
    """What the loop or a task reported; nothing may be."""
    reported: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    yield reported
    gc.collect()
    assert reported == []


@pytest.fixture
async def server(api, bugs) -> ApiServer:
    return ApiServer(api, Tasks(lambda name, error: bugs.append((name, error))))


@pytest.fixture
async def dial(server) -> AsyncIterator[Callable[[], Any]]:
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(server, "127.0.0.1", 0)
    opened: list[asyncio.StreamWriter] = []

    async def dial() -> Caller:
        caller = Caller(*await asyncio.open_connection(*listener.sockets[0].getsockname()[:2]))
        opened.append(caller.writer)
        return caller

    yield dial
    for writer in opened:
        writer.close()
    listener.close()
    await server.shutdown(1)


@pytest.fixture
async def caller(dial) -> Caller:
    made: Caller = await dial()
    return made


class TestPlainGets:
    async def test_they_are_answered_without_aiohttp(self, api, caller):
        caller.send("/hit")
        assert await caller.answer() == "hit"
        caller.send("/wait/1")
        (await api.asked("/wait/1")).set_result(None)
        assert await caller.answer() == "waited /wait/1"
        assert api.handled == []

    async def test_so_is_head(self, api, caller):
        caller.send("/hit", method="HEAD")
        assert await caller.answer(bodiless=True) == ""
        caller.send("/hit")
        assert await caller.answer() == "hit"
        assert api.handled == []

    async def test_a_head_in_pieces_is_joined(self, api, caller):
        for byte in b"GET /hit HTTP/1.1\r\nHost: x\r\n\r\n":
            caller.writer.write(bytes([byte]))
            await turns(3)
        assert await caller.answer() == "hit"
        assert api.handled == []

    async def test_one_that_waits_keeps_no_other_connection_waiting(self, api, dial, caller):
        caller.send("/wait/1")
        await api.asked("/wait/1")
        other = await dial()
        other.send("/hit")
        assert await other.answer() == "hit"

    async def test_an_answer_that_ends_the_connection_ends_it(self, api, caller):
        api.keep_alive = False
        caller.send("/hit")
        assert await caller.answer() == "hit"
        assert await caller.closed()


class TestHandingOver:
    @pytest.mark.parametrize("together", [True, False])
    async def test_a_request_with_a_body_is_aiohttps_and_the_next_get_is_not(self, api, caller, together):
        for _ in range(2):
            caller.send(
                "/put", method="PUT", extra="Content-Length: 5\r\n", body=b"12345" if together else b""
            )
            if not together:
                await turns()
                caller.writer.write(b"12")
                await turns()
                caller.writer.write(b"345")
            assert await caller.answer() == "handled /put 5"
            caller.send("/hit")
            assert await caller.answer() == "hit"
        assert api.handled == ["PUT /put"] * 2

    @pytest.mark.parametrize(
        ("extra", "body"), [("Transfer-Encoding: chunked\r\n", b"1\r\na\r\n0\r\n\r\n")], ids=["chunked"]
    )
    async def test_in_doubt_aiohttp_keeps_the_connection(self, api, caller, extra, body):
        caller.send("/put", method="PUT", extra=extra, body=body)
        assert await caller.answer() == "handled /put 1"
        caller.send("/hit")
        assert await caller.answer() == "handled /hit 0"

    async def test_requests_behind_one_that_was_handed_over_are_answered_in_order(self, api, caller):
        api.stuck = asyncio.Event()
        caller.send("/delete", method="DELETE")
        await until(lambda: api.handled)
        caller.send("/hit")
        await turns()
        api.stuck.set()
        assert await caller.answer() == "handled /delete 0"
        assert await caller.answer() == "handled /hit 0"

    @pytest.mark.parametrize(
        "nonsense", [b"\x16\x03\x01", b"GET / HTTP/1.1\nHost: x\n\n", b"nonsense\r\n\r\n"]
    )
    async def test_nonsense_is_refused_at_once(self, caller, nonsense):
        caller.writer.write(nonsense)
        assert await caller.answer() == "refused 400"
        assert await caller.closed()


class TestInputMeanwhile:
    @pytest.mark.parametrize("behind", [("/hit",), ("/wait/2",), ("/hit", "/wait/2", "/hit")])
    @pytest.mark.parametrize("together", [True, False])
    async def test_it_is_answered_afterwards_in_order(self, api, caller, behind, together):
        if together:
            caller.send("/wait/1", *behind)
        else:
            caller.send("/wait/1")
            for path in behind:
                await turns()
                caller.send(path)
        (await api.asked("/wait/1")).set_result(None)
        assert await caller.answer() == "waited /wait/1"
        for path in behind:
            if path == "/hit":
                assert await caller.answer() == "hit"
            else:
                (await api.asked(path)).set_result(None)
                assert await caller.answer() == f"waited {path}"
        caller.send("/hit")
        assert await caller.answer() == "hit"

    async def test_nonsense_is_refused_behind_the_answer(self, api, caller):
        caller.send("/wait/1")
        waiting = await api.asked("/wait/1")
        caller.writer.write(b"nonsense\r\n\r\n")
        await turns()
        waiting.set_result(None)
        assert await caller.answer() == "waited /wait/1"
        assert await caller.answer() == "refused 400"
        assert await caller.closed()

    async def test_much_of_it_waits_in_the_kernel(self, api, server, caller):
        caller.send("/wait/1")
        waiting = await api.asked("/wait/1")
        caller.writer.write(
            b"PUT /put HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000
        )
        await until(lambda: not transport_of(server).is_reading())
        waiting.set_result(None)
        assert await caller.answer() == "waited /wait/1"
        assert await caller.answer() == "handled /put 1000000"


class TestHalfClose:
    async def test_what_was_asked_is_answered_and_the_connection_ends(self, api, caller):
        caller.send("/wait/1", "/hit")
        waiting = await api.asked("/wait/1")
        caller.writer.write_eof()
        await turns()
        waiting.set_result(None)
        assert await caller.answer() == "waited /wait/1"
        assert await caller.answer() == "hit"
        assert await caller.closed()

    @pytest.mark.parametrize("late", [True, False])
    async def test_so_does_one_that_aiohttp_has(self, api, caller, late):
        api.stuck = asyncio.Event()
        caller.send("/delete", method="DELETE")
        if late:
            await until(lambda: api.handled)
        caller.writer.write_eof()
        await turns()
        api.stuck.set()
        assert await caller.answer() == "handled /delete 0"
        assert await caller.closed()

    async def test_a_request_without_its_end_gets_no_answer(self, caller):
        caller.send("/put", method="PUT", extra="Content-Length: 5\r\n", body=b"1")
        await turns()
        caller.writer.write_eof()
        assert await caller.closed()

    async def test_an_idle_connection_ends(self, caller):
        caller.send("/hit")
        assert await caller.answer() == "hit"
        caller.writer.write_eof()
        assert await caller.closed()

    async def test_an_end_just_behind_an_answer_ends_the_connection(self, caller, monkeypatch):
        finish = Connection.finish_response

        async def finish_and_receive_the_end(self: Connection, *args: Any) -> Any:
            finished = await finish(self, *args)
            asyncio.get_running_loop().call_soon(self.eof_received)
            return finished

        monkeypatch.setattr(Connection, "finish_response", finish_and_receive_the_end)
        caller.send("/delete", method="DELETE")
        assert await caller.answer() == "handled /delete 0"
        assert await caller.closed()


class TestCallersThatLeave:
    async def test_a_waiting_request_runs_to_its_end_and_nothing_is_written(self, api, server, dial, caller):
        caller.send("/wait/1")
        waiting = await api.asked("/wait/1")
        caller.reset()
        await until(lambda: not server.connections)
        waiting.set_result(None)
        other = await dial()
        other.send("/hit")
        assert await other.answer() == "hit"

    async def test_one_that_leaves_just_as_aiohttp_gets_its_request_is_no_bug(self, api, server, caller):
        caller.send("/wait/1")
        waiting = await api.asked("/wait/1")
        caller.writer.write(b"nonsense\r\n\r\n")
        await until(lambda: not transport_of(server).is_reading())
        caller.reset()
        waiting.set_result(None)
        await until(lambda: not server.connections)

    async def test_aiohttp_begins_with_what_it_has_before_it_loses_the_connection(self, api, server, caller):
        await until(lambda: server.connections)
        (connection,) = server.connections
        assert isinstance(connection, Connection)
        connection.data_received(b"DELETE /x HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.look_up()
        connection.connection_lost(ConnectionResetError())
        await until(lambda: not server.connections)
        assert api.handled == ["DELETE /x"]

    @pytest.mark.parametrize("path", ["/hit", "/wait/1", "/put"])
    async def test_their_connections_do_not_wait_for_the_garbage_collector(self, api, server, dial, path):
        gc.collect()
        gc.disable()
        try:
            for number in range(5):
                caller = await dial()
                caller.send(path, method="PUT" if path == "/put" else "GET")
                if path == "/wait/1":
                    (await api.asked(path)).set_result(None)
                    del api.waiting[path]
                assert await caller.answer()
                caller.reset() if number % 2 else caller.writer.close()
            await until(lambda: not any(isinstance(each, Connection) for each in gc.get_objects()))
        finally:
            gc.enable()


class TestUnusedConnections:
    @pytest.mark.parametrize("used", ["", "/hit", "/put"])
    async def test_they_are_closed(self, caller, monkeypatch, used, dial):
        monkeypatch.setattr(timers, "KEEPALIVE_SECONDS", 0.05)
        caller = await dial()
        if used:
            caller.send(used, method="PUT" if used == "/put" else "GET")
            await caller.answer()
        assert await caller.closed()

    @pytest.mark.parametrize("path", ["/wait/1", "/put"])
    async def test_those_with_a_request_in_progress_are_not(self, api, dial, monkeypatch, path):
        monkeypatch.setattr(timers, "KEEPALIVE_SECONDS", 0.01)
        caller = await dial()
        api.stuck = asyncio.Event()
        caller.send(path, method="PUT" if path == "/put" else "GET")
        await until(lambda: api.waiting or api.handled)
        await asyncio.sleep(0.05)  # nothing less shows that the timer did not close it
        api.stuck.set()
        for waiting in api.waiting.values():
            waiting.set_result(None)
        assert path in await caller.answer()


class TestShutdown:
    async def test_it_waits_for_an_answer(self, api, server, caller):
        caller.send("/wait/1")
        waiting = await api.asked("/wait/1")
        stopping = asyncio.create_task(server.shutdown(5))
        await turns()
        assert not stopping.done()
        api.keep_alive = False
        waiting.set_result(None)
        assert await caller.answer() == "waited /wait/1"
        await stopping
        assert await caller.closed()

    async def test_closing_idle_connections_leaves_those_that_wait(self, api, server, dial, caller):
        idle = await dial()
        caller.send("/wait/1")
        waiting = await api.asked("/wait/1")
        server.pre_shutdown()
        assert await idle.closed()
        waiting.set_result(None)
        assert await caller.answer() == "waited /wait/1"
        assert await caller.closed()

    @pytest.mark.parametrize("path", ["/wait/1", "/put"])
    async def test_what_takes_longer_is_cut_off_in_time(self, api, server, caller, path):
        api.stuck = asyncio.Event()
        caller.send(path, method="PUT" if path == "/put" else "GET")
        await until(lambda: api.waiting or api.handled)
        loop = asyncio.get_running_loop()
        started = loop.time()
        await server.shutdown(0.05)
        assert loop.time() - started < 0.5
        assert await caller.closed()

    async def test_a_body_that_is_on_its_way_is_still_received(self, api, server, caller):
        caller.send("/put", method="PUT", extra="Content-Length: 5\r\n", body=b"12")
        await until(lambda: api.handled)
        server.pre_shutdown()
        caller.writer.write(b"345")
        assert await caller.answer() == "handled /put 5"
        assert await caller.closed()
