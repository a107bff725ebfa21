"""More idle connections than there are file descriptors: probes, other callers and Apple's calls go on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from aiohttp import ClientSession

from gateway.sandbox import ADA
from tests.e2e.harness import Client
from tests.e2e.processes import Process, process

IDLE = 150
LIMIT = 50
"""Connections that a gateway keeps open with HARD."""
REFUSED = IDLE + 1 - LIMIT
REQUEST = b"GET /v1/me/ratings/albums?ids=1 HTTP/1.1\r\nHost: x\r\nMusic-User-Token: ada\r\n\r\n"
HARD = ("sh", "-c", 'ulimit -n 100; exec "$@"', "sh")
SOFT = ("sh", "-c", 'ulimit -Sn 100; exec "$@"', "sh")


@asynccontextmanager
async def connections(
    url: str, count: int
) -> AsyncIterator[list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]:
    """Connections on which nothing is sent."""
    address = urlsplit(url)
    opened = [await asyncio.open_connection(address.hostname, address.port) for _ in range(count)]
    try:
        yield opened
    finally:
        for _, writer in opened:
            writer.close()


@asynccontextmanager
async def crowded(sandbox: Any) -> AsyncIterator[tuple[Client, Process]]:
    """A gateway with an answered request and more idle connections than it keeps: it has refused REFUSED."""
    async with ClientSession() as session, process(sandbox, None, *HARD) as gateway:
        client = Client(session, gateway.api, gateway.ops)
        assert (await client.get("albums", [1], user=ADA)).status == 200
        await gateway.line("request")
        async with connections(gateway.api, IDLE), asyncio.timeout(10):
            while (await client.metrics())["gateway_connections_refused_total"] < REFUSED:
                pass
            yield client, gateway


async def test_idle_connections_leave_descriptors_for_probes_and_apple(sandbox):
    async with crowded(sandbox) as (client, _):
        for path in ("/livez", "/readyz", "/metrics"):
            assert (await client.ask("GET", path)).status == 200
        # On the connection from before. Apple may need another one.
        assert (await client.get("albums", [2], user=ADA)).status == 200


async def test_the_first_refused_connection_is_logged_at_once(sandbox):
    async with crowded(sandbox) as (client, gateway):
        refusal = await gateway.next_line()
        assert (refusal["event"], refusal["level"]) == ("connections_refused", "warning")
        assert refusal["limit"] == LIMIT
        assert (await client.get("albums", [2], user=ADA)).status == 200
        assert (await gateway.next_line())["event"] == "request"  # the other refusals are not


async def test_refused_connections_are_a_finding(sandbox):
    async with crowded(sandbox) as (client, _):
        (finding,) = (await client.ask("GET", "/status?format=json")).json["findings"]
        assert finding["what"].startswith(f"{REFUSED} connections were refused")


async def test_a_low_soft_limit_is_raised(sandbox):
    async with process(sandbox, None, *SOFT) as gateway, connections(gateway.api, IDLE) as opened:
        for reader, writer in opened:
            writer.write(REQUEST)
            assert (await reader.readline()).startswith(b"HTTP/1.1 ")
