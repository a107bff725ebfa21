"""A TCP proxy that injects faults, with toxiproxy's names; toxics may change at any time.

    async with FaultProxy("127.0.0.1", 6379) as proxy:
        slow = proxy.add(Latency(0.2, jitter=0.1))
        ...
        proxy.remove(slow)
        await proxy.down()

A toxic spoils one direction: DOWNSTREAM is what the server says, UPSTREAM what the client says. A chunk
passes the toxics in the order in which they were added; those that came or went count from the next chunk.
"""

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from enum import Enum
from typing import NamedTuple, Self

CHUNK_BYTES = 64 * 1024
QUEUED_CHUNKS = 64
"""Bytes per direction and connection; a sender that is further ahead waits, as for a full socket."""

_RESET = struct.pack("ii", 1, 0)


class Direction(Enum):
    UPSTREAM = "upstream"
    DOWNSTREAM = "downstream"


class Chunk(NamedTuple):
    data: bytes
    read_at: float
    """The event loop's time."""


Chunks = AsyncIterator[Chunk]


class Toxic:
    """Passes data unchanged. `closes_after`: seconds after which a connection with this toxic is ended."""

    closes_after: float | None = None
    resets = False

    def spoil(self, chunks: Chunks, connection: "Connection") -> Chunks:
        return chunks


class Latency(Toxic):
    """Delays every chunk by `seconds`, give or take `jitter`; delays do not add up."""

    def __init__(self, seconds: float, *, jitter: float = 0.0) -> None:
        self._seconds = seconds
        self._jitter = jitter

    async def spoil(self, chunks: Chunks, connection: "Connection") -> Chunks:
        loop = asyncio.get_running_loop()
        async for chunk in chunks:
            delay = self._seconds + connection.chance.uniform(-self._jitter, self._jitter)
            await asyncio.sleep(max(0.0, chunk.read_at + delay - loop.time()))
            yield chunk


class Bandwidth(Toxic):
    """Lets `rate` bytes a second pass."""

    def __init__(self, rate: float) -> None:
        self._rate = rate

    async def spoil(self, chunks: Chunks, connection: "Connection") -> Chunks:
        step = max(1, int(self._rate / 20))
        async for chunk in chunks:
            for piece in _sliced(chunk, step):
                await asyncio.sleep(len(piece.data) / self._rate)
                yield piece


class Slicer(Toxic):
    """Cuts chunks into pieces of `size` bytes, more or less by up to `variation`, `delay` seconds apart."""

    def __init__(self, size: int, *, variation: int = 0, delay: float = 0.0) -> None:
        self._size = size
        self._variation = variation
        self._delay = delay

    async def spoil(self, chunks: Chunks, connection: "Connection") -> Chunks:
        async for chunk in chunks:
            size = max(1, self._size + connection.chance.randint(-self._variation, self._variation))
            for piece in _sliced(chunk, size):
                yield piece
                await asyncio.sleep(self._delay)


class Timeout(Toxic):
    """Drops all data, and closes the connection after `seconds`; 0: it stays open."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.closes_after = seconds or None

    async def spoil(self, chunks: Chunks, connection: "Connection") -> Chunks:
        async for chunk in chunks:
            yield chunk._replace(data=b"")


class ResetPeer(Timeout):
    """Drops all data, and resets the connection after `seconds`; 0: at once."""

    resets = True

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.closes_after = seconds


class LimitData(Toxic):
    """Closes a connection once `limit` bytes have passed on it since it met this toxic."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    async def spoil(self, chunks: Chunks, connection: "Connection") -> Chunks:
        async for chunk in chunks:
            left = self._limit - connection.passed.get(self, 0)
            connection.passed[self] = connection.passed.get(self, 0) + len(chunk.data)
            yield chunk._replace(data=chunk.data[:left])
            if len(chunk.data) >= left:
                connection.close_when_sent()


class Garbage(Toxic):
    """Replaces data by random bytes of the same length, or by repetitions of `text`."""

    def __init__(self, text: bytes = b"") -> None:
        self._text = text

    async def spoil(self, chunks: Chunks, connection: "Connection") -> Chunks:
        async for chunk in chunks:
            length = len(chunk.data)
            text = self._text and self._text * (length // len(self._text) + 1)
            yield chunk._replace(data=text[:length] or connection.chance.randbytes(length))


class Connection:
    """One client's connection, and the one to the server that was made for it."""

    def __init__(self, proxy: "FaultProxy", writers: dict[Direction, asyncio.StreamWriter]) -> None:
        self._proxy = proxy
        self._writers = writers
        self._ending = False
        self.chance = proxy.chance
        self.passed: dict[Toxic, int] = {}

    async def pump(self, reader: asyncio.StreamReader, direction: Direction) -> None:
        """Forward one direction until its end, which ends only that direction."""
        queue: asyncio.Queue[Chunk | None] = asyncio.Queue(QUEUED_CHUNKS)
        filling = asyncio.create_task(_fill(reader, queue))
        try:
            while (chunk := await queue.get()) is not None:
                await self._pass(chunk, direction)
            self._writers[direction].write_eof()
        except OSError:
            self.close()
        finally:
            filling.cancel()
            await asyncio.gather(filling, return_exceptions=True)

    async def _pass(self, chunk: Chunk, direction: Direction) -> None:
        chunks = _only(chunk)
        for toxic in self._proxy.toxics(direction):
            chunks = toxic.spoil(chunks, self)
        writer = self._writers[direction]
        async for piece in chunks:
            writer.write(piece.data)
            await writer.drain()
        if self._ending:
            self.close()

    def close_when_sent(self) -> None:
        self._ending = True

    def meet(self, toxic: Toxic) -> None:
        """Be ended by `toxic` at its time, if it ends connections and was not removed."""
        if toxic.closes_after is not None:
            asyncio.get_running_loop().call_later(toxic.closes_after, self._end_by, toxic)

    def _end_by(self, toxic: Toxic) -> None:
        if self._proxy.has(toxic):
            self.reset() if toxic.resets else self.close()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()

    def reset(self) -> None:
        """End both sides with RST."""
        for writer in self._writers.values():
            with suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()


class FaultProxy:
    """Listens on `127.0.0.1:port`, a free one unless named, and connects every client to `to_host:to_port`.

    `seed` decides what is left to chance.
    """

    def __init__(self, to_host: str, to_port: int, *, port: int = 0, seed: int = 0) -> None:
        self._to = (to_host, to_port)
        self._toxics: dict[Direction, list[Toxic]] = {direction: [] for direction in Direction}
        self._server: asyncio.Server | None = None
        self._connections: dict[Connection, asyncio.Task[None]] = {}
        self._handlers: set[asyncio.Task[None]] = set()
        self.accepted = 0
        """Connections accepted so far."""
        self.port = port
        self.chance = random.Random(seed)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    def lead_to(self, port: int) -> None:
        """Connect later clients to another port; open connections stay."""
        self._to = (self._to[0], port)

    def add(self, toxic: Toxic, direction: Direction = Direction.DOWNSTREAM) -> Toxic:
        """Add `toxic` to `direction`, also of open connections."""
        self._toxics[direction].append(toxic)
        for connection in self._connections:
            connection.meet(toxic)
        return toxic

    def remove(self, toxic: Toxic) -> None:
        for toxics in self._toxics.values():
            if toxic in toxics:
                toxics.remove(toxic)

    def clear(self) -> None:
        """Remove every toxic."""
        for toxics in self._toxics.values():
            toxics.clear()

    def toxics(self, direction: Direction) -> tuple[Toxic, ...]:
        return tuple(self._toxics[direction])

    def has(self, toxic: Toxic) -> bool:
        return any(toxic in toxics for toxics in self._toxics.values())

    async def up(self) -> None:
        """Accept connections, again on the same port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Refuse connections, and close those that are open."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for handler in list(self._handlers):
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)
        if server is not None:
            # Last: from Python 3.12 on it waits for the connections too.
            await server.wait_closed()

    async def reset_connections(self) -> None:
        """End those that are open with RST; new ones are accepted."""
        for connection in self._connections:
            connection.reset()

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.down()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        handler = asyncio.create_task(self._handle(reader, writer))
        self._handlers.add(handler)
        handler.add_done_callback(self._handlers.discard)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = {Direction.DOWNSTREAM: writer}
        try:
            with suppress(OSError):
                to_reader, writers[Direction.UPSTREAM] = await asyncio.open_connection(*self._to)
                await self._carry(Connection(self, writers), reader, to_reader)
        finally:
            for each in writers.values():
                each.close()
            for each in writers.values():
                with suppress(OSError):
                    await each.wait_closed()

    async def _carry(
        self, connection: Connection, reader: asyncio.StreamReader, to_reader: asyncio.StreamReader
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[connection] = task
        for direction in Direction:
            for toxic in self.toxics(direction):
                connection.meet(toxic)
        try:
            await asyncio.gather(
                connection.pump(reader, Direction.UPSTREAM),
                connection.pump(to_reader, Direction.DOWNSTREAM),
            )
        finally:
            del self._connections[connection]


async def _fill(reader: asyncio.StreamReader, queue: "asyncio.Queue[Chunk | None]") -> None:
    loop = asyncio.get_running_loop()
    with suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            await queue.put(Chunk(data, loop.time()))
    await queue.put(None)


async def _only(chunk: Chunk) -> Chunks:
    yield chunk


def _sliced(chunk: Chunk, size: int) -> list[Chunk]:
    return [
        chunk._replace(data=chunk.data[start : start + size]) for start in range(0, len(chunk.data), size)
    ]
