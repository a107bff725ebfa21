"""Heartbeats that return prove that invalidations arrive; one that is refused stops lookups at its node."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from gateway.cache.redis.heartbeat import MIN_BEAT_SECONDS, Heartbeat
from gateway.telemetry.metrics import Metrics
from tests.cache.redis.harness import commands_on, limits, side_of
from tests.cache.redis.scripted import TIME, Command, ScriptedRedis
from tests.hand_clock import HandClock
from tests.waiting import until

TRUST = 0.2


@pytest.fixture
async def redis() -> AsyncIterator[ScriptedRedis]:
    async with ScriptedRedis() as redis:
        yield redis


class Beating:
    """A heartbeat that runs, on a clock that the test moves."""

    def __init__(self, heartbeat: Heartbeat, clock: HandClock, metrics: Metrics) -> None:
        self.heartbeat = heartbeat
        self.clock = clock
        self.metrics = metrics

    def sample(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def come_back(self) -> None:
        """Let the heartbeat come back that is sent now."""
        now = self.clock.monotonic()
        self.heartbeat.returned(f"{now!r} ".encode(), now)
        self.heartbeat.check(now)


@pytest.fixture
async def beating(redis: ScriptedRedis) -> AsyncIterator[Beating]:
    metrics, clock = Metrics(), HandClock()
    async with commands_on(f"redis://127.0.0.1:{redis.port}", metrics) as commands:
        heartbeat = Heartbeat(commands, "beats", limits(trust_seconds=TRUST), clock, metrics)
        running = asyncio.ensure_future(heartbeat.run())
        yield Beating(heartbeat, clock, metrics)
        running.cancel()
        await asyncio.wait([running])


def beats(redis: ScriptedRedis) -> list[Command]:
    return [command for command in redis.commands if command[0] in (b"EVALSHA", b"EVAL")]


async def test_the_content_names_the_time_and_the_node(beating: Beating, redis: ScriptedRedis) -> None:
    await until(lambda: beats(redis))
    assert beats(redis)[0][2:] == [b"0", b"beats", f"{beating.clock.monotonic()!r} ".encode()]


async def test_invalidations_arrive_while_heartbeats_come_back(beating: Beating) -> None:
    assert not beating.heartbeat.up
    beating.come_back()
    assert (beating.heartbeat.up, beating.sample("gateway_subscription_up")) == (True, 1)
    beating.clock.move(2 * TRUST)
    since = beating.clock.monotonic()
    beating.heartbeat.hasten()
    await until(lambda: not beating.heartbeat.up)
    assert (beating.heartbeat.up_since, beating.sample("gateway_subscription_up")) == (since, 0)


async def test_it_is_not_up_after_a_gap_until_a_heartbeat_comes_back(beating: Beating) -> None:
    beating.come_back()
    beating.heartbeat.gap(beating.clock.monotonic())
    await until(lambda: not beating.heartbeat.up)
    beating.come_back()
    assert beating.heartbeat.up


async def test_on_another_server_nothing_from_before_is_trusted(beating: Beating) -> None:
    beating.come_back()
    beating.heartbeat.moved(same_server=True)
    assert beating.heartbeat.up
    beating.heartbeat.moved(same_server=False)
    assert not beating.heartbeat.up
    assert beating.heartbeat.trusted_since(beating.clock.monotonic()) == beating.clock.monotonic()


async def test_the_first_refusal_is_counted(beating: Beating, redis: ScriptedRedis) -> None:
    async def refuse(command: Command) -> bytes:
        return TIME if command == [b"TIME"] else b"-READONLY You can't write against a read only replica.\r\n"

    redis.respond = refuse
    await until(lambda: len(beats(redis)) > 4)
    assert beating.sample("gateway_shared_cache_errors_total", kind="readonly") == 1


async def test_while_heartbeats_come_back_entries_are_trusted_since_the_last_gap(beating: Beating) -> None:
    began = beating.clock.monotonic()
    beating.heartbeat.gap(began)
    for _ in range(10):
        beating.come_back()
        beating.clock.move(TRUST / 2)
    assert beating.heartbeat.trusted_since(beating.clock.monotonic()) == began
    beating.clock.move(TRUST)
    now = beating.clock.monotonic()
    assert beating.heartbeat.trusted_since(now) == now - TRUST


async def test_without_redis_entries_are_trusted_for_the_trust_time() -> None:
    async with side_of("redis://127.0.0.1:1", trust_seconds=TRUST) as side:
        side.link.listen(side.on_invalidation, side.on_announcement)
        now = time.monotonic()
        assert side.link.trusted_since(now) == now - TRUST
        assert side.subscription_up == 0


@pytest.mark.parametrize(
    ("trust", "silence"),
    [(0.0, 4 * MIN_BEAT_SECONDS), (0.2, 0.2), (60.0, 60.0)],
)
async def test_a_silent_subscription_has_missed_four_heartbeats(
    redis: ScriptedRedis, trust: float, silence: float
) -> None:
    async with commands_on(f"redis://127.0.0.1:{redis.port}") as commands:
        heartbeat = Heartbeat(commands, "", limits(trust_seconds=trust), HandClock(), Metrics())
    assert heartbeat.silence_seconds == silence
