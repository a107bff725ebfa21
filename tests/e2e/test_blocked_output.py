"""A gateway whose stdout is not read or not writable: it answers, stops in time, and counts lost lines."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from aiohttp import ClientSession

from gateway.sandbox import ADA, Sandbox
from tests.e2e.harness import Client, environment
from tests.ports import free_port

LONG_ID = "x" * 128
"""As long a request id as there may be, so that few requests fill the pipe."""


class Blocked(NamedTuple):
    client: Client
    process: asyncio.subprocess.Process
    stdout: int


@asynccontextmanager
async def unread(sandbox: Sandbox, **settings: object) -> AsyncIterator[Blocked]:
    """A gateway that writes to a pipe of which nothing is read; its first line fits."""
    reading, writing = os.pipe()
    try:
        async with writing_to(writing, sandbox, **settings) as (client, process):
            yield Blocked(client, process, reading)
    finally:
        os.close(reading)


@asynccontextmanager
async def writing_to(
    stdout: int, sandbox: Sandbox, /, *through: str, **settings: object
) -> AsyncIterator[tuple[Client, asyncio.subprocess.Process]]:
    """A gateway that listens and has `stdout`, which is closed here, started by `through`."""
    api, ops = free_port(), free_port()
    environ = os.environ | environment(sandbox, server__port=api, ops__port=ops, **settings)
    process = await asyncio.create_subprocess_exec(
        *through, sys.executable, "-m", "gateway", "serve", env=environ, stdout=stdout
    )
    os.close(stdout)
    try:
        async with ClientSession() as session:
            client = Client(session, f"http://127.0.0.1:{api}", f"http://127.0.0.1:{ops}")
            await _listening(session, f"http://127.0.0.1:{ops}/startupz")
            yield client, process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _listening(session: ClientSession, url: str) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                async with session.get(url) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                await asyncio.sleep(0.01)


async def test_requests_are_answered_while_stdout_is_blocked_and_dropped_lines_are_counted(sandbox):
    async with unread(sandbox) as blocked, asyncio.timeout(60):
        dropped = 0.0
        while not dropped:
            asked = [
                blocked.client.ask(
                    "GET",
                    f"/v1/me/ratings/albums?ids={n}&new=1",
                    headers={"X-Request-Id": LONG_ID, "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"},
                )
                for n in range(500)
            ]
            assert {answer.status for answer in await asyncio.gather(*asked)} == {200}
            dropped = (await blocked.client.metrics())["gateway_log_lines_dropped_total"]
        assert (await blocked.client.ask("GET", "/livez")).status == 200


async def until_dropped(client: Client, lines: int) -> None:
    while (await client.metrics())["gateway_log_lines_dropped_total"] < lines:
        pass


async def test_lines_that_a_full_disk_does_not_take_are_counted(sandbox):
    full = os.open("/dev/full", os.O_WRONLY)
    async with writing_to(full, sandbox) as (client, _), asyncio.timeout(10):
        for n in range(3):
            assert (await client.get("albums", [n], user=ADA)).status == 200
        await until_dropped(client, len(("listening", 1, 2, 3)))


async def test_lost_lines_are_a_finding(sandbox):
    full = os.open("/dev/full", os.O_WRONLY)
    async with writing_to(full, sandbox) as (client, _), asyncio.timeout(10):
        await until_dropped(client, len(("listening",)))
        (finding,) = (await client.ask("GET", "/status?format=json")).json["findings"]
        assert finding["runbook"] == "RatingsGatewayLogLinesDropped"
        assert "lost" in finding["what"]


def files(pid: int, descriptors: set[int]) -> set[Path]:
    return {Path(f"/proc/{pid}/fd/{n}").readlink() for n in descriptors}


@pytest.mark.parametrize("streams", [">&-", "<&- >&- 2>&-"])
async def test_without_a_stdout_it_serves_without_a_log(sandbox, streams):
    null = os.open(os.devnull, os.O_WRONLY)
    async with writing_to(null, sandbox, "sh", "-c", f'exec "$@" {streams}', "sh") as (client, process):
        assert (await client.get("albums", [1], user=ADA)).status == 200
        closed = {0, 1, 2} if "<" in streams else {1}
        assert files(process.pid, closed) == {Path(os.devnull)}
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


async def test_sigterm_ends_it_in_time(sandbox):
    async with unread(sandbox, server__drain_seconds=0) as blocked:
        for n in range(500):
            await blocked.client.get("albums", [n], user=ADA, headers={"X-Request-Id": LONG_ID})
        blocked.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(2.5):
            assert await blocked.process.wait() == 0
