"""A server that plays a script on bare sockets, with just enough HTTP to answer or to break off."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def ids(self) -> list[str]:
        """The ids of `?ids=a,b`, in order."""
        return self.target.partition("ids=")[2].partition("&")[0].split(",")


Wire = asyncio.StreamWriter
Reply = Callable[[Seen, Wire], Awaitable[None]]


def reply(status: int, body: bytes | str = b"", *, announced: int | None = None, **headers: str) -> Reply:
    """A whole answer; `announced` lies about its length, and then the connection is closed."""
    content = body.encode() if isinstance(body, str) else body
    lines = [
        f"HTTP/1.1 {status} Status",
        f"Content-Length: {len(content) if announced is None else announced}",
    ]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join(lines).encode()

    async def play(_: Seen, wire: Wire) -> None:
        wire.write(head + b"\r\n\r\n" + content)
        await wire.drain()
        if announced is not None:
            wire.close()

    return play


def raw(content: bytes) -> Reply:
    """These bytes, and then the connection is closed."""

    async def play(_: Seen, wire: Wire) -> None:
        wire.write(content)
        await wire.drain()
        wire.close()

    return play


def rated(*more: str) -> Reply:
    """Every id asked for is liked; ids that were not asked for come on top."""

    async def play(seen: Seen, wire: Wire) -> None:
        data = [
            {"id": id_, "type": "ratings", "href": f"/v1/me/ratings/albums/{id_}", "attributes": {"value": 1}}
            for id_ in [*seen.ids, *more]
        ]
        await reply(200, json.dumps({"data": data}))(seen, wire)

    return play


def error(status: int, code: str | None = None, *, parameter: str | None = None) -> Reply:
    """Apple's envelope."""
    listed: dict[str, object] = {
        "id": "A",
        "title": "T",
        "status": str(status),
        "code": code or f"{status}00",
    }
    if parameter is not None:
        listed["source"] = {"parameter": parameter}
    return reply(status, json.dumps({"errors": [listed]}))


async def reset(_: Seen, wire: Wire) -> None:
    """The connection breaks off without an answer."""
    wire.transport.abort()


def held(until: asyncio.Event, then: Reply) -> Reply:
    """Answers only when the test lets it."""

    async def play(seen: Seen, wire: Wire) -> None:
        await until.wait()
        await then(seen, wire)

    return play


class Script:
    """What arrived, and what is answered: the replies of `plays` in turn, then `otherwise` for ever."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[Seen] = []
        self.plays: list[Reply] = []
        self.otherwise: Reply = rated()
        self.choose: Callable[[Seen], Reply] | None = None
        self.most_at_once = 0
        self._now = 0
        self._connections = 0
        self._arrived = asyncio.Condition()

    @property
    def asked(self) -> list[list[str]]:
        return [seen.ids for seen in self.seen]

    async def arrived(self, count: int) -> None:
        """Return when `count` requests have come."""
        async with asyncio.timeout(5), self._arrived:
            await self._arrived.wait_for(lambda: len(self.seen) >= count)

    async def serve(self, reader: asyncio.StreamReader, wire: Wire) -> None:
        self._connections += 1
        connection = self._connections
        try:
            while True:
                await self._answer(reader, wire, connection)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            wire.close()

    async def _answer(self, reader: asyncio.StreamReader, wire: Wire, connection: int) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, target, _ = head[0].split(" ")
        pairs = (line.partition(": ") for line in head[1:] if line)
        headers = {name.lower(): value for name, _, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        seen = Seen(method, target, headers, body, connection)
        async with self._arrived:
            self.seen.append(seen)
            self._arrived.notify_all()
        chosen = self.plays.pop(0) if self.plays else self.choose(seen) if self.choose else self.otherwise
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            await chosen(seen, wire)
        finally:
            self._now -= 1


@asynccontextmanager
async def playing() -> AsyncIterator[Script]:
    """A script behind a free port of this host."""
    script = Script()
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, wire: Wire) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        await script.serve(reader, wire)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 20)
    host, port = server.sockets[0].getsockname()[:2]
    script.url = f"http://{host}:{port}"
    try:
        yield script
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
