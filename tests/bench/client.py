"""A small HTTP client of the bench's own: requests at given moments, and how long each answer took.

A request never waits for the answer to another one: a server that stands still is seen by every request that
comes meanwhile. Times are the machine's, because uvloop's own clock counts in whole milliseconds.
"""

import asyncio
import gc
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from time import perf_counter
from typing import cast

import msgspec

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_HEAD_END = b"\r\n\r\n"
_GOOD = b"HTTP/1.1 200"
_RATING = b'"value":'


class Ask(msgspec.Struct, frozen=True):
    """A request: its target, the user token, the method, and the body of a PUT."""

    target: str
    user: str
    method: str = "GET"
    body: str = ""


class Timed(msgspec.Struct, frozen=True):
    """What came of a request, when it was sent (the machine's clock), and after how long."""

    status: int
    began: float
    seconds: float
    body: bytes
    head: bytes


def encode(ask: Ask, headers: Mapping[str, str]) -> bytes:
    """The bytes of a request."""
    lines = [f"{ask.method} {ask.target} HTTP/1.1", "Host: 127.0.0.1", f"Music-User-Token: {ask.user}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if ask.body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(ask.body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n" + ask.body).encode()


class Channel(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._missing: int | None = None
        self._waiter: asyncio.Future[tuple[bytes, bytes]] | None = None
        self._transport: asyncio.Transport | None = None

    @property
    def open(self) -> bool:
        """Whether it can be used."""
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes) -> "asyncio.Future[tuple[bytes, bytes]]":
        """Send a request; the future brings head and body."""
        assert self._transport is not None
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._waiter

    def data_received(self, data: bytes) -> None:
        self._pieces.append(data)
        if self._missing is None:
            whole = b"".join(self._pieces)
            end = whole.find(_HEAD_END)
            if end < 0:
                return
            self._pieces = [whole]
            self._missing = end + len(_HEAD_END) + body_length(whole[:end]) - len(whole)
        else:
            self._missing -= len(data)
        if self._missing == 0:
            self._finish()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error or ConnectionError("closed before the answer was whole"))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _finish(self) -> None:
        head, _, body = b"".join(self._pieces).partition(_HEAD_END)
        self._pieces, self._missing = [], None
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result((head, body))


class Client:
    """As many connections to one port as requests are under way."""

    def __init__(self, port: int, headers: Mapping[str, str]) -> None:
        self._port = port
        self._headers = headers
        self._idle: list[Channel] = []
        self._all: list[Channel] = []

    async def open(self, channels: int) -> None:
        """Have that many connections ready."""
        while len(self._idle) < channels:
            self._idle.append(await self._connected())

    async def ask(self, ask: Ask) -> Timed:
        """Ask, on a connection that is opened for it where all others are in use."""
        start = perf_counter()
        channel = await self.take()
        head, body = await channel.send(self.encoded(ask))
        self._idle.append(channel)
        return Timed(int(head[9:12]), start, perf_counter() - start, body, head)

    def encoded(self, ask: Ask) -> bytes:
        return encode(ask, self._headers)

    async def take(self) -> Channel:
        """A connection for one caller alone; servers close those that were idle for long."""
        while self._idle:
            channel = self._idle.pop()
            if channel.open:
                return channel
        return await self._connected()

    def close(self) -> None:
        for channel in self._all:
            channel.close()

    async def _connected(self) -> Channel:
        loop = asyncio.get_running_loop()
        _, channel = await loop.create_connection(Channel, "127.0.0.1", self._port)
        self._all.append(channel)
        return channel


@asynccontextmanager
async def client(port: int, headers: Mapping[str, str], channels: int = 8) -> AsyncIterator[Client]:
    """A client whose measurements no garbage collection of ours disturbs."""
    made = Client(port, headers)
    await made.open(channels)
    gc.collect()
    gc.disable()
    try:
        yield made
    finally:
        gc.enable()
        made.close()


async def replay(made: Client, moments: Iterable[tuple[float, Ask]]) -> list[Timed]:
    """Send each request at its moment (seconds from now, ascending), without waiting for answers."""
    began = perf_counter()
    tasks = []
    for moment, ask in moments:
        if (wait := began + moment - perf_counter()) > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(made.ask(ask)))
    return await asyncio.gather(*tasks)


async def hammer(made: Client, asks: Iterable[Ask], *, callers: int, ratings: int) -> float:
    """Send each request once, `callers` at a time without a pause; the answers a second.

    Raises `RuntimeError` where an answer is no 200 with that many ratings.
    """
    requests = iter([made.encoded(ask) for ask in asks])
    channels = [await made.take() for _ in range(callers)]
    answers = 0

    async def call(channel: Channel) -> None:
        nonlocal answers
        for request in requests:
            head, body = await channel.send(request)
            if not head.startswith(_GOOD) or body.count(_RATING) != ratings:
                raise RuntimeError(f"no answer with {ratings} ratings: {head!r} {body[:200]!r}")
            answers += 1

    began = perf_counter()
    await asyncio.gather(*(call(channel) for channel in channels))
    return answers / (perf_counter() - began)


async def each(made: Client, asks: Iterable[Ask], *, callers: int = 8) -> list[Timed]:
    """Ask all of them once, `callers` at a time."""
    waiting = iter(asks)
    answers: list[Timed] = []

    async def call() -> None:
        answers.extend([await made.ask(ask) for ask in waiting])

    await asyncio.gather(*(call() for _ in range(callers)))
    return answers


def body_length(head: bytes) -> int:
    """`Content-Length` of a response head, 0 for a 204. Raises `ValueError` where there is none."""
    if head[9:12] == b"204":
        return 0
    found = _LENGTH.search(head)
    if found is None:
        raise ValueError(f"no Content-Length in {head[:200]!r}")
    return int(found[1])
