"""Servers that a deployment consists of, as processes."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.waiting import until


@asynccontextmanager
async def running(folder: Path, port: int, *command: str | Path) -> AsyncIterator[str]:
    """Run a server until the end of the block; its URL. AssertionError with its output if it ends early."""
    output = folder / "output"
    with output.open("wb") as file:
        process = await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=file, stderr=file)
    try:
        await until(lambda: process.returncode is not None or accepts(port), 20)
        assert process.returncode is None, output.read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
