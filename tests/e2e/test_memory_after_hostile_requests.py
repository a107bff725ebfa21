"""Memory taken by malformed and long requests returns to the system."""

import asyncio
import random
from pathlib import Path

import pytest
from aiohttp import ClientSession

from gateway.sandbox import ADA
from tests.e2e.harness import Client
from tests.e2e.processes import Process, process

MIB = 1024 * 1024
MOST_MIB = 20
REQUESTS = 600
TOGETHER = 8


def resident(served: Process) -> float:
    """MiB."""
    status = Path(f"/proc/{served.process.pid}/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def request(chance: random.Random) -> bytes:
    """Long and broken somewhere: in its target, its headers, its framing or its body."""
    long = b"%d," % chance.randrange(10**9) * chance.choice([10, 5_000, 40_000])
    head = b"Host: x\r\nMusic-User-Token: u%d\r\n" % chance.randrange(100)
    return chance.choice(
        [
            b"GET /v1/me/ratings/albums?ids=%b HTTP/1.1\r\n%bX-A b\r\n\r\n" % (long, head),
            b"GET /v1/me/ratings/albums?ids=x%b HTTP/1.1\r\n%b\r\n" % (long, head),
            b"GET /%b HTTP/1.1\r\n%b\r\n" % (long, head),
            b"%b HTTP/1.1\r\n\r\n" % long,
            b"GET / HTTP/1.1\r\n%bX: %b\r\n\r\n" % (head, long),
            b"POST /v1/me/ratings HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (head, len(long), long),
            b"POST /v1/me/ratings HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\nzz\r\n%b" % (head, long),
        ]
    )


async def send(api: str, data: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(api.rpartition(":")[2]))
    writer.write(data)
    try:
        async with asyncio.timeout(2):
            await reader.read(1)
    except (OSError, TimeoutError):
        pass
    finally:
        writer.close()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
async def test_memory_of_hostile_requests_returns_to_the_system(sandbox):
    chance = random.Random(1)
    async with process(sandbox, log__level="info") as served, ClientSession() as session:
        client = Client(session, served.api, served.ops)
        for n in range(50):
            await client.get("albums", [n], user=ADA)
        drained = asyncio.create_task(drain(served))
        before = resident(served)
        for _ in range(REQUESTS // TOGETHER):
            await asyncio.gather(*[send(served.api, request(chance)) for _ in range(TOGETHER)])
        # Reclaiming looks once a second, and at the old garbage every five.
        for _ in range(100):
            if resident(served) - before <= MOST_MIB:
                break
            await asyncio.sleep(0.2)
        drained.cancel()
        assert resident(served) - before <= MOST_MIB


async def drain(served: Process) -> None:
    """Read what the gateway logs."""
    while True:
        await served.next_line()
