"""Redis fails under a steady load: no wrong or failed answer, and it is used again within 2 s.

RATINGS_GATEWAY_FAULT_SECONDS lengthens each phase (normal, fault), which otherwise last one second.
"""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

import pytest

from gateway.sandbox import ADA, Lag, Latency, Sandbox, Where
from tests import faultproxy
from tests.e2e.harness import Caller, Client, ShiftedClock, bug_logged, gateway_on, task_names
from tests.e2e.load import IDS, OWN, Load, Truth
from tests.e2e.processes import client_of_process
from tests.faultproxy import Direction, FaultProxy, Toxic
from tests.redis_server import RedisServer

PHASE_SECONDS = float(os.environ.get("RATINGS_GATEWAY_FAULT_SECONDS", "1"))
RECOVERY_SECONDS = 3.5
REQUEST_TASKS = {"fetch", "write", "refresh", "fill", "shadow"}
SHARED_HITS = 'gateway_cache_ids_total{result="hit",tier="shared"}'

pytestmark = pytest.mark.redis_server


class Stage(NamedTuple):
    redis: RedisServer
    proxy: FaultProxy


Strike = Callable[[Stage], Awaitable[None]]


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as redis:
        yield redis
        with suppress(AssertionError):
            redis.resume()


@asynccontextmanager
async def staged(sandbox: Sandbox, redis: RedisServer) -> AsyncIterator[tuple[Stage, Client]]:
    """A gateway whose local tier is too small for the load, so that Redis is asked all the time.

    It is a process of its own: what it takes to answer is not the load's doing.
    """
    async with (
        FaultProxy("127.0.0.1", redis.port) as proxy,
        client_of_process(
            sandbox,
            cache__redis_url=f"redis://127.0.0.1:{proxy.port}",
            cache__local_max_entries=60,
            log__sample_hits=0,
        ) as gateway,
    ):
        yield Stage(redis, proxy), gateway


async def pause(stage: Stage) -> None:
    stage.redis.pause()


async def resume(stage: Stage) -> None:
    stage.redis.resume()


async def kill(stage: Stage) -> None:
    stage.redis.kill()


async def restart(stage: Stage) -> None:
    await asyncio.to_thread(stage.redis.start)


async def fill_up(stage: Stage) -> None:
    with stage.redis.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)


async def make_room(stage: Stage) -> None:
    with stage.redis.client() as client:
        client.config_set("maxmemory", 0)


async def flush(stage: Stage) -> None:
    with stage.redis.client() as client:
        client.flushall()


async def refuse(stage: Stage) -> None:
    await stage.proxy.down()


async def accept(stage: Stage) -> None:
    await stage.proxy.up()


async def cure(stage: Stage) -> None:
    stage.proxy.clear()


async def nothing(stage: Stage) -> None:
    """The fault passes by itself."""


def poison(*toxics: Callable[[], Toxic]) -> Strike:
    async def strike(stage: Stage) -> None:
        for toxic in toxics:
            stage.proxy.add(toxic())

    return strike


async def deafen(stage: Stage) -> None:
    stage.proxy.add(faultproxy.Timeout(), Direction.UPSTREAM)


FAULTS: dict[str, tuple[Strike, Strike]] = {
    "paused": (pause, resume),
    "killed and restarted empty": (kill, restart),
    "emptied": (flush, nothing),
    "full": (fill_up, make_room),
    "refusing connections": (refuse, accept),
    "slow": (poison(lambda: faultproxy.Latency(0.2, jitter=0.1)), cure),
    "cut in mid-reply": (poison(lambda: faultproxy.LimitData(700)), cure),
    "resetting": (poison(faultproxy.ResetPeer), cure),
    "answering garbage": (poison(faultproxy.Garbage), cure),
    "answering text": (poison(lambda: faultproxy.Garbage(b"HTTP/1.1 400 Bad Request\r\n\r\n")), cure),
    "answering nothing": (poison(faultproxy.Timeout), cure),
    "hearing nothing": (deafen, cure),
    "answering in slices": (poison(lambda: faultproxy.Slicer(7, variation=6)), cure),
}


CONNECTED = {"emptied", "full", "slow", "answering in slices"}
"""With these faults Apple also lags behind writes. A write that did not reach Redis for more than
`local_trust_seconds` is not held once Redis is back, because another gateway may have written in between."""


@pytest.mark.parametrize("fault", FAULTS)
async def test_no_fault_of_redis_makes_an_answer_wrong_or_fail(sandbox, redis, fault):
    strike, relieve = FAULTS[fault]
    truth = Truth(sandbox)
    if fault in CONNECTED:
        sandbox.faults.add(Lag(0.2), where=Where(method="PUT"))
    async with staged(sandbox, redis) as (stage, gateway):
        load = Load(gateway, truth)
        async with load.running():
            began = time.monotonic()
            await asyncio.sleep(PHASE_SECONDS)
            struck = time.monotonic()
            await strike(stage)
            await asyncio.sleep(PHASE_SECONDS)
            await relieve(stage)
            relieved = time.monotonic()
            recovered = await recovery(gateway)
            await asyncio.sleep(PHASE_SECONDS / 5)
    normal, under_fault = load.p99(began, struck), load.p99(struck, relieved)
    print(  # noqa: T201 - the figures of docs/reliability.md: pytest -rP
        f"{fault}: {len(load.judged)} reads, {load.writes} writes, {len(load.wrong)} wrong, "
        f"{len(load.failed)} failed, p99 {normal * 1000:.0f} -> {under_fault * 1000:.0f} ms, "
        f"back in {recovered:.2f} s"
    )
    assert load.wrong == []
    assert load.failed == []
    assert recovered < RECOVERY_SECONDS
    assert under_fault < normal + 0.5


async def recovery(gateway: Client) -> float:
    """Seconds until news comes in and Redis serves hits again."""
    began = time.monotonic()
    before = (await gateway.metrics()).get(SHARED_HITS, 0.0)
    async with asyncio.timeout(10):
        while True:
            now = await gateway.metrics()
            if now.get(SHARED_HITS, 0.0) > before and now["gateway_subscription_up"]:
                return time.monotonic() - began
            await asyncio.sleep(0.02)


async def settled(gateway: Caller) -> None:
    """Wait until nothing that a request began is in progress; a leak makes this time out."""
    async with asyncio.timeout(10):
        while (await gateway.metrics())["gateway_upstream_in_flight"] or task_names() & REQUEST_TASKS:
            pass
        for user in OWN:
            for id_ in IDS:
                while await in_flight(gateway, user, id_):
                    pass


async def in_flight(gateway: Caller, user: str, id_: int) -> bool:
    explained = await gateway.ask("GET", f"/-/explain?type=albums&id={id_}", user=user)
    return bool(explained.json["in_flight"])


@pytest.mark.parametrize("with_redis", [False, True])
async def test_callers_that_leave_at_any_moment_leave_nothing_behind(sandbox, redis, with_redis, capfd):
    truth = Truth(sandbox)
    sandbox.faults.add(Latency(0.002, jitter=0.01))
    chance = random.Random(5)
    more = {"cache__redis_url": redis.url} if with_redis else {}
    # A visibility check waits five seconds after its write.
    quiet = {"log__level": "warning", "cache__visibility_fraction": 0}
    async with gateway_on(sandbox, cache__local_max_entries=20, **quiet, **more) as gateway:
        names = task_names()

        async def leave() -> None:
            user = chance.choice(list(OWN))
            ids = chance.sample(IDS, chance.choice((1, 5, 50)))
            with suppress(TimeoutError):
                async with asyncio.timeout(chance.uniform(0, 0.02)):
                    if chance.random() < 0.2:
                        await gateway.rate("albums", 500, chance.choice((1, -1)), user=user)
                    else:
                        await gateway.get("albums", ids, user=user)

        load = Load(gateway, truth)
        async with load.running():
            for _ in range(int(40 * PHASE_SECONDS)):
                await asyncio.gather(*(leave() for _ in range(20)))
        await settled(gateway)
        assert task_names() == names
        assert (load.wrong, load.failed) == ([], [])
        assert (await gateway.get("albums", IDS, user=ADA)).status == 200
    assert not bug_logged("".join(capfd.readouterr()))


class Held(Toxic):
    """Holds back the replies of Redis until released."""

    def __init__(self) -> None:
        self.came = asyncio.Event()
        self.let_go = asyncio.Event()

    async def spoil(self, chunks: faultproxy.Chunks, connection: faultproxy.Connection) -> faultproxy.Chunks:
        async for chunk in chunks:
            self.came.set()
            await self.let_go.wait()
            yield chunk


@pytest.mark.parametrize("ids", [[1], [1, 2]], ids=["all that is asked", "a part"])
async def test_a_late_reply_of_redis_has_its_real_age(sandbox, redis, ids):
    clock = ShiftedClock()
    async with (
        FaultProxy("127.0.0.1", redis.port) as proxy,
        gateway_on(
            sandbox,
            clock,
            cache__redis_url=f"redis://127.0.0.1:{proxy.port}",
            cache__redis_timeout_ms=60_000,
            cache__local_max_entries=0,
        ) as gateway,
    ):
        while (await gateway.get("albums", [1])).counts["shared"] == 0:
            pass
        held = Held()
        proxy.add(held)
        asking = asyncio.create_task(gateway.get("albums", ids))
        await held.came.wait()
        clock.shift = 5
        held.let_go.set()
        answer = await asking
        assert answer.counts["shared"] == 1
        assert int(answer.headers["Age"]) >= 5
