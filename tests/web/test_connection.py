"""Connections over real sockets, with scripted answers."""

import asyncio
import gc
import struct
from collections.abc import AsyncIterator, Callable
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

import pytest
from aiohttp import web

from gateway.errors import GatewayError
from gateway.web.connection import Connection
from gateway.web.listener import Server
from gateway.web.response import WholeResponse
from tests.waiting import until


def answer(text: str, *, keep_alive: bool = True) -> WholeResponse:
    return WholeResponse(200, "", text.encode(), keep_alive=keep_alive)


class Scripted:
    """Stands in for the API: /hit is answered at once, the rest by `handle`."""

    def __init__(self) -> None:
        self.handled: list[str] = []
        self.keep_alive = True
        self.stuck: asyncio.Event | None = None
        """`handle` waits for it."""

    def at_once(self, method: str, path: str, headers: Any) -> WholeResponse | None:
        del method, headers
        return answer("hit", keep_alive=self.keep_alive) if path == "/hit" else None

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.handled.append(request.path)
        if self.stuck is not None:
            await self.stuck.wait()
        return answer(f"slow {request.path}", keep_alive=self.keep_alive)

    def refuse(self, request: web.BaseRequest, error: GatewayError) -> web.StreamResponse:
        del request
        return answer(f"refused {error.status}", keep_alive=False)


class Caller:
    """The other end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *paths: str) -> None:
        self.writer.write("".join(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n" for path in paths).encode())

    async def answer(self) -> str:
        async with asyncio.timeout(5):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            length = int(head.partition("Content-Length: ")[2].partition("\r\n")[0])
            return (await self.reader.readexactly(length)).decode()

    def reset(self) -> None:
        self.writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def closed(self) -> bool:
        async with asyncio.timeout(5):
            return await self.reader.read() == b""


@pytest.fixture
async def api() -> Scripted:
    return Scripted()


@pytest.fixture
async def server(api) -> Server:
    return Server(api)


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


async def test_hits_do_not_reach_the_handler(api, caller):
    caller.send("/hit")
    assert await caller.answer() == "hit"
    assert api.handled == []


async def test_other_requests_reach_the_handler(api, caller):
    caller.send("/slow")
    assert await caller.answer() == "slow /slow"
    assert api.handled == ["/slow"]


async def test_a_connection_that_waits_does_not_delay_another(api, dial, caller):
    api.stuck = asyncio.Event()
    caller.send("/slow")
    await until(lambda: api.handled)
    other = await dial()
    other.send("/hit")
    assert await other.answer() == "hit"
    api.stuck.set()


@pytest.mark.parametrize("first", ["/hit", "/slow"])
@pytest.mark.parametrize("behind", [("/hit",), ("/slow",), ("/slow", "/hit", "/slow")])
async def test_pipelined_requests_are_answered_in_order(caller, first, behind):
    caller.send(first, *behind)
    for path in (first, *behind):
        assert await caller.answer() in ("hit", f"slow {path}")


async def test_a_malformed_request_is_refused_after_the_answer_to_the_one_before(api, caller):
    api.stuck = asyncio.Event()
    caller.send("/slow")
    await until(lambda: api.handled)
    caller.writer.write(b"nonsense\r\n\r\n")
    await caller.writer.drain()
    api.stuck.set()
    assert await caller.answer() == "slow /slow"
    assert await caller.answer() == "refused 400"
    assert await caller.closed()


async def test_a_half_closed_connection_gets_its_answer_and_is_closed(api, server, caller):
    api.stuck = asyncio.Event()
    caller.send("/slow")
    await until(lambda: api.handled)
    caller.writer.write_eof()
    api.stuck.set()
    assert await caller.answer() == "slow /slow"
    assert await caller.closed()


async def test_a_connection_half_closed_just_after_its_answer_is_closed(caller, monkeypatch):
    finish = Connection.finish_response

    async def finish_and_receive_eof(self: Connection, *args: Any) -> Any:
        finished = await finish(self, *args)
        asyncio.get_running_loop().call_soon(self.eof_received)
        return finished

    monkeypatch.setattr(Connection, "finish_response", finish_and_receive_eof)
    caller.send("/slow")
    assert await caller.answer() == "slow /slow"
    assert await caller.closed()


async def test_a_connection_that_was_reset_affects_no_other(api, server, dial, caller):
    bugs: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: bugs.append(context))
    api.stuck = asyncio.Event()
    caller.send("/slow")
    await until(lambda: api.handled)
    (connection,) = server.connections
    caller.reset()
    await until(lambda: connection.transport is None)
    api.stuck.set()
    other = await dial()
    other.send("/hit")
    assert await other.answer() == "hit"
    assert bugs == []


async def test_a_shutdown_waits_for_the_answer(api, server, caller):
    api.stuck = asyncio.Event()
    caller.send("/slow")
    await until(lambda: api.handled)
    api.keep_alive = False
    stopping = asyncio.create_task(server.shutdown(5))
    await asyncio.sleep(0)
    api.stuck.set()
    assert await caller.answer() == "slow /slow"
    await stopping
    assert await caller.closed()


async def test_a_shutdown_does_not_wait_for_ever(api, server, caller):
    api.stuck = asyncio.Event()
    caller.send("/slow")
    await until(lambda: api.handled)
    async with asyncio.timeout(5):
        await server.shutdown(0.05)
    assert await caller.closed()


@pytest.mark.parametrize("path", ["/hit", "/slow"])
async def test_a_closed_connection_is_freed_without_the_garbage_collector(server, dial, path):
    gc.collect()
    gc.disable()
    try:
        for number in range(5):
            caller = await dial()
            caller.send(path)
            assert await caller.answer()
            caller.reset() if number % 2 else caller.writer.close()
        await until(lambda: not any(isinstance(each, Connection) for each in gc.get_objects()))
    finally:
        gc.enable()


async def test_an_answer_without_keep_alive_closes_the_connection(api, caller):
    api.keep_alive = False
    caller.send("/hit")
    assert await caller.answer() == "hit"
    assert await caller.closed()
