"""Under a steady mixed load the way to Apple fails in every way: no wrong answer, and soon none that fails.

RATINGS_GATEWAY_FAULT_SECONDS lengthens the fault, which lasts a second else.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest

from gateway.model import Kind
from gateway.sandbox import ADA, Sandbox
from tests import faultproxy
from tests.e2e.harness import Client, Reply, gateway_on
from tests.e2e.load import Load, Truth
from tests.faultproxy import FaultProxy, Toxic

FAULT_SECONDS = float(os.environ.get("RATINGS_GATEWAY_FAULT_SECONDS", "1"))
FRESH_SECONDS = 0.3
BREAKER_OPEN_SECONDS = 0.3
RECOVERY_SECONDS = 3.0
HONEST = {502, 503, 504}
KEPT = {str(id_): 1 if id_ % 2 else -1 for id_ in range(1001, 1011)}
"""Songs that the load does not ask for, cached before the fault."""


class Fault(NamedTuple):
    toxic: Callable[[], Toxic] | None
    """None: Apple refuses connections."""
    answers: bool = False
    """Whether Apple's answers still arrive."""


FAULTS = {
    "slow": Fault(lambda: faultproxy.Latency(0.1), answers=True),
    "now slow, now not": Fault(lambda: faultproxy.Latency(0.2, jitter=0.2), answers=True),
    "narrow": Fault(lambda: faultproxy.Bandwidth(20_000), answers=True),
    "answering in slices": Fault(lambda: faultproxy.Slicer(31, variation=30), answers=True),
    "cut in mid-answer": Fault(lambda: faultproxy.LimitData(200)),
    "resetting": Fault(faultproxy.ResetPeer),
    "answering nothing": Fault(faultproxy.Timeout),
    "answering garbage": Fault(faultproxy.Garbage),
    "refusing connections": Fault(None),
}


@asynccontextmanager
async def staged(sandbox: Sandbox) -> AsyncIterator[tuple[FaultProxy, Client]]:
    """A gateway that has to ask Apple all the time: it keeps too little, and believes it for too short."""
    port = int(sandbox.url.rpartition(":")[2])
    async with (
        FaultProxy("127.0.0.1", port) as proxy,
        gateway_on(
            sandbox,
            apple__base_url=f"http://127.0.0.1:{proxy.port}",
            cache__local_max_entries=380,
            cache__fresh_seconds=FRESH_SECONDS,
            cache__stale_while_revalidate_seconds=0,
            log__level="warning",
            server__request_timeout_seconds=1,
            upstream__breaker_open_seconds=BREAKER_OPEN_SECONDS,
            upstream__call_timeout_seconds=0.4,
        ) as gateway,
    ):
        yield proxy, gateway


async def strike(proxy: FaultProxy, fault: Fault) -> None:
    if fault.toxic is None:
        await proxy.down()
    else:
        proxy.add(fault.toxic())


async def cure(proxy: FaultProxy, fault: Fault) -> None:
    if fault.toxic is None:
        await proxy.up()
    else:
        proxy.clear()


@pytest.mark.parametrize("name", FAULTS)
async def test_no_fault_of_apple_makes_an_answer_wrong_and_what_is_cached_is_served(sandbox, name):
    fault = FAULTS[name]
    truth = Truth(sandbox)
    for id_, value in KEPT.items():
        sandbox.rate(ADA, Kind.SONGS, id_, value)
    async with staged(sandbox) as (proxy, gateway):
        load = Load(gateway, truth)
        async with load.running():
            await asyncio.sleep(FAULT_SECONDS / 2)
            await kept(gateway)
            assert load.failed == []
            await strike(proxy, fault)
            served = await kept_meanwhile(gateway)
            await cure(proxy, fault)
            cured = time.monotonic()
            await recovery(gateway)
            recovered = time.monotonic()
            await asyncio.sleep(FAULT_SECONDS / 4)
    print(  # noqa: T201 - the figures of docs/reliability.md: pytest -rP
        f"{name}: {len(load.judged)} reads, {load.stale} of them stale, {load.writes} writes, "
        f"{len(load.wrong)} wrong, {len(load.failed)} failed, back in {recovered - cured:.2f} s"
    )
    assert load.wrong == []
    assert {failed.status for failed in load.failed} <= HONEST
    assert [failed for failed in load.failed if failed.began > recovered] == []
    assert recovered - cured < RECOVERY_SECONDS
    if not fault.answers:
        assert served[-1].cache.startswith("fwd=stale")


async def kept(gateway: Client) -> Reply:
    """Ask for what is cached; it is served, whatever Apple does."""
    reply = await gateway.get("songs", KEPT)
    assert (reply.status, reply.values) == (200, KEPT)
    return reply


async def kept_meanwhile(gateway: Client) -> list[Reply]:
    """What is answered while the fault lasts."""
    until = time.monotonic() + FAULT_SECONDS
    replies = []
    while time.monotonic() < until:
        replies.append(await kept(gateway))
        await asyncio.sleep(0.05)
    return replies


async def recovery(gateway: Client) -> None:
    """Wait until Apple is asked again, and answers."""
    async with asyncio.timeout(10):
        while True:
            reply = await gateway.get("songs", KEPT, headers={"Cache-Control": "no-cache"})
            if reply.status == 200 and not (await gateway.metrics())['gateway_breaker_state{target="apple"}']:
                return
            await asyncio.sleep(0.02)
