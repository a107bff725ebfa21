"""What a connection does with requests that it takes for itself; over real sockets, with scripted answers."""

import asyncio
import gc
import struct
from collections.abc import AsyncIterator, Callable
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

import pytest
from aiohttp import web

from gateway.errors import GatewayError
from gateway.web.api import Begun, Request
from gateway.web.connection import Connection
from gateway.web.listener import Server
from gateway.web.response import WholeResponse
from tests.waiting import until


def answer(text: str, *, keep_alive: bool = True) -> WholeResponse:
    return WholeResponse(200, "", text.encode(), keep_alive=keep_alive)


class Scripted:
    """In the place of the API: /hit is one, /ask/… waits for Redis, which is the test, the rest is slow."""

    def __init__(self) -> None:
        self.redis: dict[str, asyncio.Future[bool]] = {}
        self.went_on: list[Any] = []
        self.keep_alive = True
        self.stuck: asyncio.Event | None = None
        """What is slow waits for it."""

    def at_once(self, method: str, path: str, headers: Any) -> WholeResponse | Begun | None:
        del method, headers
        if path == "/hit":
            return answer("hit", keep_alive=self.keep_alive)
        return Begun(None, path, None) if path.startswith("/ask/") else None  # type: ignore[arg-type]

    async def soon(self, begun: Begun) -> WholeResponse | Begun | None:
        path = str(begun.target)
        future = self.redis[path] = asyncio.get_running_loop().create_future()
        return answer(f"found {path}", keep_alive=self.keep_alive) if await future else begun

    async def handle(self, request: Request) -> web.StreamResponse:
        self.went_on.append(None if request.begun is None else request.begun.target)
        if self.stuck is not None:
            await self.stuck.wait()
        return answer(f"slow {request.path}")

    def refuse(self, request: web.BaseRequest, error: GatewayError) -> web.StreamResponse:
        del request
        return answer(f"refused {error.status}", keep_alive=False)

    async def asked(self, path: str) -> asyncio.Future[bool]:
        await until(lambda: path in self.redis)
        return self.redis[path]


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


def unread(server: Server) -> bytes:
    """What has come to the only connection and waits."""
    (connection,) = server.connections
    kept: bytes = connection._hits_first._unread  # type: ignore[attr-defined]
    return kept


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


async def test_hits_of_either_tier_never_come_to_the_handler(api, caller):
    caller.send("/hit")
    assert await caller.answer() == "hit"
    caller.send("/ask/1")
    (await api.asked("/ask/1")).set_result(True)
    assert await caller.answer() == "found /ask/1"
    assert api.went_on == []


async def test_what_is_no_hit_goes_on_from_where_it_was(api, caller):
    caller.send("/ask/1")
    (await api.asked("/ask/1")).set_result(False)
    assert await caller.answer() == "slow /ask/1"
    caller.send("/slow")
    assert await caller.answer() == "slow /slow"
    assert api.went_on == ["/ask/1", None]


async def test_a_connection_that_waits_for_redis_keeps_no_other_waiting(api, dial, caller):
    caller.send("/ask/1")
    await api.asked("/ask/1")
    other = await dial()
    other.send("/hit")
    assert await other.answer() == "hit"


@pytest.mark.parametrize("found", [True, False])
@pytest.mark.parametrize("behind", [("/hit",), ("/ask/2",), ("/slow",), ("/slow", "/hit", "/slow")])
async def test_what_comes_meanwhile_is_answered_behind_it(api, server, caller, found, behind):
    caller.send("/ask/1")
    waiting = await api.asked("/ask/1")
    for path in behind:
        caller.send(path)
        await caller.writer.drain()
    await until(lambda: unread(server))
    waiting.set_result(found)
    assert await caller.answer() == ("found /ask/1" if found else "slow /ask/1")
    for path in behind:
        if path == "/ask/2" and found:
            (await api.asked(path)).set_result(True)
            assert await caller.answer() == "found /ask/2"
        else:
            assert await caller.answer() in ("hit", f"slow {path}")


@pytest.mark.parametrize("found", [True, False])
async def test_nonsense_that_comes_meanwhile_is_refused_behind_the_answer(api, server, caller, found):
    caller.send("/ask/1")
    waiting = await api.asked("/ask/1")
    caller.writer.write(b"nonsense\r\n\r\n")
    await until(lambda: unread(server))
    waiting.set_result(found)
    assert await caller.answer() == ("found /ask/1" if found else "slow /ask/1")
    assert await caller.answer() == "refused 400"
    assert await caller.closed()


async def test_much_that_comes_meanwhile_waits_in_the_kernel(api, server, caller):
    caller.send("/ask/1")
    waiting = await api.asked("/ask/1")
    caller.writer.write(
        b"GET /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n" + b"x" * 50_000_000
    )
    (connection,) = server.connections
    await until(lambda: unread(server))
    assert not connection.transport.is_reading()
    assert len(unread(server)) < 1_000_000
    waiting.set_result(True)
    assert await caller.answer() == "found /ask/1"
    assert await caller.answer() == "slow /slow"


@pytest.mark.parametrize("found", [True, False])
async def test_a_caller_that_sends_no_more_gets_its_answer_and_an_end(api, server, caller, found):
    caller.send("/ask/1")
    waiting = await api.asked("/ask/1")
    caller.writer.write_eof()
    (connection,) = server.connections
    await until(lambda: connection._half_closed)
    waiting.set_result(found)
    assert await caller.answer() == ("found /ask/1" if found else "slow /ask/1")
    assert await caller.closed()


async def test_a_caller_that_sends_no_more_just_as_its_answer_is_out_gets_an_end(caller, monkeypatch):
    finish = Connection.finish_response

    async def finish_and_hear_of_the_end(self: Connection, *args: Any) -> Any:
        finished = await finish(self, *args)
        asyncio.get_running_loop().call_soon(self.eof_received)
        return finished

    monkeypatch.setattr(Connection, "finish_response", finish_and_hear_of_the_end)
    caller.send("/slow")
    assert await caller.answer() == "slow /slow"
    assert await caller.closed()


@pytest.mark.parametrize("found", [True, False])
async def test_a_caller_that_has_gone_harms_nobody(api, server, dial, caller, found):
    bugs: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: bugs.append(context))
    caller.send("/ask/1")
    waiting = await api.asked("/ask/1")
    caller.reset()
    await until(lambda: not server.connections)
    waiting.set_result(found)
    other = await dial()
    other.send("/hit")
    assert await other.answer() == "hit"
    assert (api.went_on, bugs) == ([], [])


async def test_a_caller_that_goes_just_as_its_next_request_is_taken_up_harms_nobody(api, server, caller):
    bugs: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: bugs.append(context))
    caller.send("/ask/1")
    waiting = await api.asked("/ask/1")
    caller.writer.write(b"nonsense\r\n\r\n")
    await until(lambda: server.connections[0]._hits_first._unread)
    caller.reset()
    waiting.set_result(True)
    await until(lambda: not server.connections)
    gc.collect()
    assert (api.went_on, bugs) == ([], [])


@pytest.mark.parametrize("found", [True, False])
async def test_a_shutdown_waits_for_the_answer(api, server, caller, found):
    caller.send("/ask/1")
    waiting = await api.asked("/ask/1")
    stopping = asyncio.create_task(server.shutdown(5))
    (connection,) = server.connections
    await until(lambda: connection._ended is not None)
    api.keep_alive = False
    waiting.set_result(found)
    assert await caller.answer() == ("found /ask/1" if found else "slow /ask/1")
    await stopping
    assert await caller.closed()


@pytest.mark.parametrize("found", [True, False])
async def test_the_end_of_idle_connections_leaves_those_that_wait_for_redis(api, server, caller, found):
    caller.send("/ask/1")
    waiting = await api.asked("/ask/1")
    api.keep_alive = False
    server.pre_shutdown()
    stopping = asyncio.create_task(server.shutdown(5))
    waiting.set_result(found)
    assert await caller.answer() == ("found /ask/1" if found else "slow /ask/1")
    await stopping
    assert await caller.closed()


async def test_a_shutdown_does_not_wait_for_redis_and_then_as_long_again(api, server, caller):
    api.stuck = asyncio.Event()
    caller.send("/ask/1")
    waiting = await api.asked("/ask/1")
    loop = asyncio.get_running_loop()
    started = loop.time()
    stopping = asyncio.create_task(server.shutdown(1.0))
    loop.call_later(0.9, waiting.set_result, False)
    await stopping
    assert loop.time() - started < 1.5
    assert await caller.closed()


async def test_a_shutdown_does_not_wait_for_ever(api, server, caller):
    caller.send("/ask/1")
    await api.asked("/ask/1")
    async with asyncio.timeout(5):
        await server.shutdown(0.05)
    assert await caller.closed()


@pytest.mark.parametrize("path", ["/hit", "/ask/1", "/slow"])
async def test_a_connection_that_has_ended_is_not_left_to_the_garbage_collector(api, server, dial, path):
    gc.collect()
    gc.disable()
    try:
        for number in range(5):
            caller = await dial()
            caller.send(path)
            if path == "/ask/1":
                (await api.asked(path)).set_result(True)
                del api.redis[path]
            assert await caller.answer()
            caller.reset() if number % 2 else caller.writer.close()
        await until(lambda: not any(isinstance(each, Connection) for each in gc.get_objects()))
    finally:
        gc.enable()


async def test_an_answer_that_ends_the_connection_ends_it(api, caller):
    api.keep_alive = False
    caller.send("/hit")
    assert await caller.answer() == "hit"
    assert await caller.closed()
