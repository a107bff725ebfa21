"""Apple's bad minutes under load: no wrong answer, soon none that fails, and few calls.

RATINGS_GATEWAY_FAULT_SECONDS lengthens the faults in real time, which otherwise last one second.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import NamedTuple

import pytest

from gateway.model import Kind
from gateway.sandbox import ADA, BEN, CLEO, Sandbox
from gateway.sandbox import faults as sandbox_faults
from tests import faultproxy
from tests.e2e.clock_jumps import play, scene
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
    "intermittently slow": Fault(lambda: faultproxy.Latency(0.2, jitter=0.2), answers=True),
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
    """A gateway that calls Apple all the time: its cache is small, and trust and freshness are short."""
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
            async with load.no_requests():
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
    """Read cached ids: they are served regardless of Apple."""
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


# -- minutes in jumping time

CALLS_A_SECOND = 4
ONE, TWO = "1138988512", "475655712"
UNRATED = 5_000_000_000
FRESH = 300


async def minute(scenery, ask):
    """Sixty seconds of requests, so many a second whether or not they are answered."""
    replies = []

    async def one(number):
        replies.append(await ask(number))

    async with asyncio.TaskGroup() as asking:
        for number in range(60 * CALLS_A_SECOND):
            asking.create_task(one(number))
            await asyncio.sleep(1 / CALLS_A_SECOND)
    return replies


async def minute_of_misses(*faults, seed):
    """The statuses, and how many calls they cost."""
    async with scene(seed=seed) as scenery:
        caller, sandbox = scenery
        sandbox.faults.add(sandbox_faults.Latency(0.1, jitter=0.2))
        for effect, fraction in faults:
            sandbox.faults.add(effect, fraction=fraction)
        users = Random(seed).choices([ADA, BEN, CLEO], k=60 * CALLS_A_SECOND)
        replies = await minute(
            scenery,
            lambda n: caller.get("albums", range(UNRATED + 10 * n, UNRATED + 10 * n + 10), user=users[n]),
        )
        throttled = caller.sample("gateway_upstream_throttled_total")
        return {reply.status for reply in replies}, sandbox.calls.total, throttled


def test_a_minute_of_429s_and_500s_costs_no_answer_and_a_quarter_more_calls_at_most():
    seed = 1
    quiet, least, _ = play(minute_of_misses(seed=seed))
    moody, calls, throttled = play(
        minute_of_misses(
            (sandbox_faults.CannedReply(429), 0.1), (sandbox_faults.CannedReply(500), 0.02), seed=seed
        )
    )
    assert (quiet, moody) == ({200}, {200})
    assert least == 60 * CALLS_A_SECOND
    assert throttled >= 15
    assert least < calls <= 1.25 * least


DEATHS = {
    "refusing": None,
    "silent": sandbox_faults.Latency(3600),
    "answering 503": sandbox_faults.CannedReply(503),
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_minute_without_apple_costs_no_answer_where_the_cache_is_warm(death):
    async def story():
        async with scene(cache__stale_while_revalidate_seconds=0) as scenery:
            caller, sandbox = scenery
            ids = [ONE, TWO, *range(UNRATED, UNRATED + 100)]
            await caller.get("albums", ids)
            caller.clock.shift += FRESH
            effect = DEATHS[death]
            if effect is None:
                await sandbox.stop()
            else:
                sandbox.faults.add(effect)
            chance = Random(0)
            replies = await minute(scenery, lambda _: caller.get("albums", [ONE, *chance.sample(ids[2:], 9)]))
            calls = sandbox.calls.total
            if effect is None:
                await sandbox.start(port=int(sandbox.url.rpartition(":")[2]))
            sandbox.faults.clear()
            await asyncio.sleep(6)
            return replies, calls, await caller.get("albums", [ONE])

    replies, calls, well = play(story())
    assert len(replies) == 60 * CALLS_A_SECOND
    assert {reply.status for reply in replies} == {200}
    assert {reply.values[ONE] for reply in replies} == {1}
    assert all(reply.cache.startswith("fwd=stale") for reply in replies)
    assert all(reply.counts["stale"] == 10 for reply in replies)
    assert all(int(reply.headers["Age"]) >= FRESH for reply in replies)
    assert calls < 120
    assert (well.cache, well.headers["Age"]) == ("fwd=miss; stored", "0")
