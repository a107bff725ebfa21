"""`ratings-gateway serve` as a process of its own, before a sandbox of this one."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import ClientSession

from gateway.sandbox import Sandbox
from tests.e2e.harness import Client, environment


class Process:
    """A gateway and what it says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.api = self.ops = ""

    async def line(self, event: str) -> dict[str, object]:
        while (line := await self.next_line())["event"] != event:
            pass
        return line

    async def next_line(self) -> dict[str, object]:
        assert self.process.stdout is not None
        raw = await self.process.stdout.readline()
        assert raw, "it ended without saying more"
        line: dict[str, object] = json.loads(raw)
        return line


@asynccontextmanager
async def started(
    sandbox: Sandbox, folder: Path | None = None, /, *through: str, **settings: object
) -> AsyncIterator[Process]:
    """Start the gateway of the source tree `folder` (None: this one), by `through`. It may not listen yet."""
    process = await asyncio.create_subprocess_exec(
        *through,
        sys.executable,
        "-m",
        "gateway",
        "serve",
        cwd=folder,
        env=os.environ | environment(sandbox, **settings),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Process(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def process(
    sandbox: Sandbox, folder: Path | None = None, /, *through: str, **settings: object
) -> AsyncIterator[Process]:
    async with started(sandbox, folder, *through, **settings) as made:
        listening = await made.line("listening")
        made.api, made.ops = str(listening["api"]), str(listening["ops"])
        yield made


@asynccontextmanager
async def client_of_process(
    sandbox: Sandbox, folder: Path | None = None, /, **settings: object
) -> AsyncIterator[Client]:
    """A gateway as a process of its own, as its callers meet it; it must not speak of a bug."""
    async with ClientSession() as session:
        async with process(sandbox, folder, **settings) as made:
            bugs = asyncio.create_task(_bugs(made))
            yield Client(session, made.api, made.ops)
        assert await bugs == []


async def _bugs(of: Process) -> list[bytes]:
    """Read all that it says, lest it wait for a reader."""
    assert of.process.stdout is not None
    return [line async for line in of.process.stdout if b'"bug"' in line]
