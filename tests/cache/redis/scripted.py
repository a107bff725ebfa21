"""Servers that speak Redis' protocol and answer as a test says."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Self

Command = list[bytes]
Respond = Callable[[Command], Awaitable[bytes | None]]

TIME = b"*2\r\n$10\r\n1700000000\r\n$6\r\n500000\r\n"
MICROS = 1_700_000_000_500_000


def bulk(text: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text)


async def echo(command: Command) -> bytes | None:
    """Answer anything but TIME with its last word."""
    return TIME if command == [b"TIME"] else bulk(command[-1])


class ScriptedRedis:
    """Listens on a free loopback port. What `respond` gives is sent; None cuts the connection."""

    def __init__(self) -> None:
        self.respond: Respond = echo
        self.commands: list[Command] = []
        self.connections = 0
        self.port = 0
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Close every connection."""
        for writer in self._open:
            writer.close()

    def say(self, text: bytes) -> None:
        """Send an unrequested reply."""
        for writer in self._open:
            writer.write(text)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        try:
            while True:
                command = await _read(reader)
                self.commands.append(command)
                answer = await self.respond(command)
                if answer is None:
                    break
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()


class ScriptedNode(ScriptedRedis):
    """A cluster node that claims all slots, and answers every other command with `reply`."""

    def __init__(self) -> None:
        super().__init__()
        self.respond = self._answer
        self.reply = b"*2\r\n$-1\r\n$-1\r\n"
        """By default the reply to a lookup of one id that is not cached."""
        self.host = b"$-1\r\n"
        self.owner = 0
        """Port of the node that has every slot; 0: this one."""
        self.slots = 16_384
        """How many slots have a node, from the first on."""
        self.maps = 0
        """Requests for the slot map."""

    @property
    def url(self) -> str:
        return f"redis+cluster://127.0.0.1:{self.port}"

    async def _answer(self, command: Command) -> bytes | None:
        match command[0]:
            case b"TIME":
                return TIME
            case b"CLUSTER":
                self.maps += 1
                owner, last = self.owner or self.port, self.slots - 1
                if last < 0:
                    return b"*0\r\n"
                return b"*1\r\n*3\r\n:0\r\n:%d\r\n*2\r\n%b:%d\r\n" % (last, self.host, owner)
        return self.reply


async def _read(reader: asyncio.StreamReader) -> Command:
    count = int((await reader.readuntil(b"\r\n"))[1:-2])
    command = []
    for _ in range(count):
        size = int((await reader.readuntil(b"\r\n"))[1:-2])
        command.append((await reader.readexactly(size + 2))[:-2])
    return command
