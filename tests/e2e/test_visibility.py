"""Two gateways on one Redis check that written ratings are served; planted bugs show as stale."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec
import pytest

from gateway.cache.cache import Cache
from gateway.cache.redis import scripts
from gateway.cache.redis.store import RedisStore
from gateway.cache.write_log import WriteLog
from gateway.model import PLAIN
from gateway.sandbox import Lag, Sandbox, Where
from tests.e2e.harness import Caller, gateway_on, until
from tests.faultproxy import Chunks, Connection, FaultProxy, Toxic

pytestmark = pytest.mark.redis_server

ID = "1138988512"
CHECKS = "gateway_write_visibility_checks_total"
SOON, LATER = "0.1", "1"
LAG_SECONDS = 1.0


class Pair(NamedTuple):
    one: Caller
    two: Caller


class LostAnnouncements(Toxic):
    """Drops the messages that announce a write, and passes everything else of Redis."""

    FRAME = re.compile(rb"\*3\r\n\$7\r\nmessage\r\n\$15\r\nratings:written\r\n\$\d+\r\n[^\r]*\r\n")

    def __init__(self) -> None:
        self.dropped = 0

    async def spoil(self, chunks: Chunks, connection: Connection) -> Chunks:
        async for chunk in chunks:
            data, dropped = self.FRAME.subn(b"", chunk.data)
            self.dropped += dropped
            yield chunk._replace(data=data)


@pytest.fixture
async def pair(sandbox, redis) -> AsyncIterator[Pair]:
    async with paired(sandbox, redis.url) as pair:
        yield pair


@asynccontextmanager
async def paired(sandbox: Sandbox, redis_url: str) -> AsyncIterator[Pair]:
    settings = {
        "cache__redis_url": redis_url,
        "cache__visibility_fraction": 1,
        "cache__redis_timeout_ms": 1000,
    }
    async with gateway_on(sandbox, **settings) as one, gateway_on(sandbox, **settings) as two:
        yield Pair(one, two)


def results(caller: Caller, tier: str, *, after: str = SOON) -> dict[str, float]:
    counted = {
        result: caller.sample(CHECKS, after=after, tier=tier, result=result)
        for result in ("agree", "newer", "absent", "stale")
    }
    return {result: count for result, count in counted.items() if count}


def stale(caller: Caller) -> float:
    return sum(
        results(caller, tier, after=after).get("stale", 0)
        for tier in ("local", "shared")
        for after in (SOON, LATER)
    )


async def test_a_write_is_checked_in_both_tiers_by_the_writer_and_by_the_other(pair):
    for caller in pair:
        await caller.get("albums", [ID])
    await pair.one.rate("albums", ID, -1)
    await until(
        lambda: all((results(pair.one, "local"), results(pair.one, "shared"), results(pair.two, "shared")))
    )
    assert results(pair.one, "local") == results(pair.one, "shared") == {"agree": 1}
    assert results(pair.two, "local") == {"absent": 1}
    assert results(pair.two, "shared") == {"agree": 1}


async def test_a_writer_checks_its_write_although_no_announcement_arrives(sandbox, redis):
    async with FaultProxy("127.0.0.1", redis.port) as proxy:
        lost = LostAnnouncements()
        proxy.add(lost)
        async with paired(sandbox, f"redis://127.0.0.1:{proxy.port}") as pair:
            await until(lambda: all(caller.sample("gateway_subscription_up") == 1 for caller in pair))
            await pair.one.rate("albums", ID, -1)
            await until(lambda: bool(results(pair.one, "shared")))
            assert results(pair.one, "local") == results(pair.one, "shared") == {"agree": 1}
            assert results(pair.two, "shared") == {}
        assert lost.dropped == len(pair)


async def test_the_lag_of_invalidations_is_measured_at_each_gateway(pair):
    def received(caller: Caller) -> float:
        return caller.sample("gateway_invalidation_lag_seconds_count")

    while not (received(pair.one) and received(pair.two)):  # the first may precede any reply with Redis' time
        await pair.one.rate("albums", ID, -1)
    for caller in pair:
        assert 0 <= caller.sample("gateway_invalidation_lag_seconds_sum") < 2


async def test_no_check_is_stale_while_apple_lags(pair, sandbox):
    loop = asyncio.get_running_loop()
    sandbox.faults.add(Lag(LAG_SECONDS), where=Where(method="PUT"))
    ends, value = loop.time() + LAG_SECONDS, 1
    while loop.time() < ends:
        value = -value
        await pair[value > 0].rate("albums", ID, value)
        for caller in pair:
            for query in ("", "&l=de"):
                await caller.get("albums", [ID, *range(1, 5)], query)
    await until(lambda: all(results(caller, "shared", after=LATER) for caller in pair))
    assert results(pair.one, "local")["agree"]
    assert stale(pair.one) == stale(pair.two) == 0


async def test_no_write_is_announced_if_none_is_sampled(sandbox, redis):
    async with gateway_on(sandbox, cache__redis_url=redis.url, cache__visibility_fraction=0) as caller:
        with redis.client() as client, client.pubsub() as subscription:
            subscription.subscribe("ratings:written", "ratings:news")
            await caller.rate("albums", ID, -1)
            messages = iter(lambda: subscription.get_message(timeout=0.2), None)
            channels = [message["channel"] for message in messages if message["type"] == "message"]
    assert channels == [b"ratings:news"] * 2


async def test_a_gateway_without_redis_checks_its_own_writes(sandbox):
    async with gateway_on(sandbox, cache__visibility_fraction=1) as caller:
        await caller.rate("albums", ID, -1)
        await caller.unrate("albums", ID)
        await until(lambda: results(caller, "local") == {"newer": 1, "agree": 1})
        assert results(caller, "shared") == {}


async def test_an_invalidation_that_is_dropped_shows_as_stale(pair, monkeypatch):
    await pair.two.get("albums", [ID])
    monkeypatch.setattr(Cache, "on_invalidation", lambda *_: None)
    await pair.one.rate("albums", ID, -1)
    await until(lambda: stale(pair.two) > 0)
    assert stale(pair.one) == 0


async def test_a_fill_stored_in_spite_of_a_newer_write_version_shows_as_stale(pair, sandbox, monkeypatch):
    source = scripts.FILL.source
    unchecked = source.replace("if digits(meta.version) ~= version then return 0 end", "")
    unchecked = unchecked.replace("if fillable(records[i]) then", "do")
    assert unchecked.count("\n") == source.count("\n")
    monkeypatch.setattr(scripts, "FILL", scripts.Script("fill", unchecked))
    monkeypatch.setattr(WriteLog, "admits", lambda *_: True)

    hold = sandbox.hold(Where(method="GET"), at="answer", times=1)
    fetch = asyncio.ensure_future(pair.two.get("albums", [ID]))
    await hold.reached()
    await pair.one.rate("albums", ID, -1)
    hold.release()
    await fetch
    await until(lambda: "stale" in results(pair.one, "shared") and "stale" in results(pair.two, "local"))


async def test_a_hold_ignored_in_one_variant_shows_as_stale(pair, sandbox, monkeypatch):
    recall, lookup = Cache.recall, RedisStore.lookup

    def without_holds(found: Any, partition: Any) -> Any:
        return found if partition.variant == PLAIN else msgspec.structs.replace(found, holds={})

    async def forgetful_lookup(self: Any, partition: Any, *more: Any) -> Any:
        return without_holds(await lookup(self, partition, *more), partition)

    monkeypatch.setattr(
        Cache, "recall", lambda self, partition, now: without_holds(recall(self, partition, now), partition)
    )
    monkeypatch.setattr(RedisStore, "lookup", forgetful_lookup)
    sandbox.faults.add(Lag(LAG_SECONDS), where=Where(method="PUT"))
    await pair.one.rate("albums", ID, -1)
    await pair.two.get("albums", [ID], "&l=de")
    await until(lambda: stale(pair.two) > 0)
    assert stale(pair.one) == 0
