"""A name server that does not answer: for Redis, nothing else is delayed; for Apple, errors say so."""

import asyncio
import signal
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.e2e.harness import Client
from tests.e2e.processes import process

SLOW = """
import socket, time

resolve = socket.getaddrinfo


def getaddrinfo(host, *more, **named):
    if host in ("apple.invalid", "redis.invalid"):
        time.sleep(60)
    return resolve(host, *more, **named)


socket.getaddrinfo = getaddrinfo
"""


@pytest.fixture
def _slow_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text(SLOW)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.mark.usefixtures("_slow_names")
async def test_a_slow_name_of_redis_holds_up_neither_start_nor_calls_nor_the_end(sandbox):
    settings = {"cache__redis_url": "redis://redis.invalid:6379", "server__drain_seconds": 0}
    async with asyncio.timeout(20), ClientSession() as session, process(sandbox, **settings) as served:
        client = Client(session, served.api, served.ops)
        replies = await asyncio.gather(*[client.get("albums", [n]) for n in range(1, 40)])
        assert {reply.status for reply in replies} == {200}
        async with session.get(f"{served.ops}/readyz") as ready:
            assert ready.status == 200
        served.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(2):
            assert await served.process.wait() == 0


@pytest.mark.usefixtures("_slow_names")
async def test_a_request_that_ends_while_apples_name_is_not_resolved_says_so(sandbox):
    settings = {"apple__base_url": "https://apple.invalid", "server__drain_seconds": 0}
    async with asyncio.timeout(20), ClientSession() as session, process(sandbox, **settings) as served:
        client = Client(session, served.api, served.ops)
        # A lookup ends after 2 s, and is repeated until the request ends.
        reply = await client.get("albums", [1], headers={"X-Request-Timeout-Ms": "2700"})
        assert reply.status == 504
        assert reply.headers["Proxy-Status"] == "ratings-gateway; error=dns_timeout"
