"""A scripted API behind real connections, and the callers at their other ends."""

import asyncio
import struct
from socket import SO_LINGER, SOL_SOCKET
from types import SimpleNamespace
from typing import Any

from aiohttp import web

from gateway.errors import GatewayError
from gateway.web.listener import ApiServer
from gateway.web.response import WholeResponse
from tests.waiting import until


def answer(text: str, *, keep_alive: bool = True) -> WholeResponse:
    return WholeResponse(200, "", text.encode(), keep_alive=keep_alive)


class ScriptedApi:
    """Answers /hit at once and /wait/… when the test says so; records the requests that aiohttp parsed."""

    def __init__(self) -> None:
        self.waiting: dict[str, asyncio.Future[None]] = {}
        self.handled: list[str] = []
        self.keep_alive = True
        self.stuck: asyncio.Event | None = None
        """Requests that aiohttp parsed wait for it."""
        self.reads_bodies = True

    def begin(self, method: str, path: str, headers: Any) -> Any:
        if path == "/hit":
            return WholeResponse(200, "", b"hit", keep_alive=self.keep_alive, bodiless=method == "HEAD")
        return SimpleNamespace(path=path)

    async def run(self, accepted: Any, request: web.BaseRequest | None) -> WholeResponse:
        path = accepted.path
        future = self.waiting[path] = asyncio.get_running_loop().create_future()
        await future
        return answer(f"waited {path}", keep_alive=self.keep_alive)

    async def handle(self, request: web.BaseRequest, *, last: bool = False) -> WholeResponse:
        self.handled.append(f"{request.method} {request.path}")
        if self.stuck is not None:
            await self.stuck.wait()
        body = await request.read() if self.reads_bodies else b""
        return answer(f"handled {request.path} {len(body)}", keep_alive=request.keep_alive and not last)

    def refuse(self, request: web.BaseRequest, error: GatewayError) -> WholeResponse:
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
    """Let the event loop turn until what was sent has arrived: loopback takes a few turns."""
    for _ in range(count):
        await asyncio.sleep(0)
