"""Two gateways on one Redis: a rating fetched or written through one is served by both."""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
from aiohttp import ClientSession

from gateway.model import Kind
from gateway.sandbox import ADA, CannedReply, Lag, Misshape, Where
from tests.e2e.harness import ROOT, Caller, gateway_on, stored, until
from tests.e2e.processes import process

pytestmark = pytest.mark.redis_server

ONE = "1138988512"
MANY = [ONE, *range(1, 25)]
LAG_SECONDS = 1.0
NEWS_SECONDS = 0.5
"""The README says 0.1; a busy machine gets more. Without the invalidation it would be minutes."""
READERS = 50
WRITES = Where(method="PUT")
READS = Where(method="GET")


class Pair(NamedTuple):
    one: Caller
    two: Caller


@pytest.fixture
async def pair(sandbox, redis) -> AsyncIterator[Pair]:
    async with (
        gateway_on(sandbox, cache__redis_url=redis.url) as one,
        gateway_on(sandbox, cache__redis_url=redis.url) as two,
    ):
        yield Pair(one, two)


async def test_ratings_that_one_fetched_the_other_serves_without_a_call(pair, sandbox):
    first = await pair.one.get("albums", MANY)
    await stored()
    calls = sandbox.calls.total
    second = await pair.two.get("albums", MANY)
    assert (second.values, second.counts["shared"], second.cache) == (first.values, len(MANY), "hit")
    assert sandbox.calls.total == calls


async def test_a_write_is_read_back_everywhere_while_apple_still_reports_the_old_rating(pair, sandbox):
    loop = asyncio.get_running_loop()
    sandbox.faults.add(Lag(LAG_SECONDS), where=WRITES)
    for caller in pair:
        assert (await caller.get("albums", MANY)).values[ONE] == 1

    assert (await pair.one.rate("albums", ONE, -1)).status == 200
    answered = loop.time()
    assert (await pair.one.one("albums", ONE)).values == {ONE: -1}
    while (await pair.two.one("albums", ONE)).values == {ONE: 1}:
        assert loop.time() < answered + NEWS_SECONDS

    while loop.time() < answered + LAG_SECONDS + 0.2:
        crowd = [caller.get("albums", MANY) for caller in pair for _ in range(READERS // 2)]
        assert {reply.values[ONE] for reply in await asyncio.gather(*crowd)} == {-1}


@pytest.mark.parametrize("fetching", [0, 1], ids=["the writer", "the other"])
@pytest.mark.parametrize("query", ["", "&l=de"], ids=["plain", "variant"])
async def test_a_fetch_held_up_across_a_write_does_not_undo_it(pair, sandbox, fetching, query):
    hold = sandbox.hold(READS, at="answer", times=1)
    fetch = asyncio.ensure_future(pair[fetching].get("albums", [ONE], query))
    await hold.reached()
    await pair.one.rate("albums", ONE, -1)
    hold.release()
    await fetch
    for caller in pair:
        await stored()
        assert (await caller.get("albums", [ONE], query)).values == {ONE: -1}


async def test_a_write_on_a_catalog_id_makes_the_library_ask_again_through_the_other(pair, sandbox):
    await pair.one.get("library-albums", ["l.sandbox1"])
    await stored()
    await pair.one.rate("albums", ONE, -1)
    reply = await pair.two.get("library-albums", ["l.sandbox1"])
    assert (reply.values, reply.counts["upstream"]) == ({"l.sandbox1": -1}, 1)


async def test_a_purge_reaches_the_other(pair, sandbox):
    await pair.two.get("albums", [ONE])
    sandbox.rate(ADA, Kind.ALBUMS, ONE, -1)
    assert (await pair.one.ask("POST", "/-/purge")).json == {"purged": True}
    async with asyncio.timeout(NEWS_SECONDS):
        while (await pair.two.get("albums", [ONE])).values != {ONE: -1}:
            pass


@pytest.mark.parametrize("named", [{}, {"type": "albums", "ids": [ONE]}], ids=["all", "by id"])
async def test_a_purge_within_the_hold_leaves_nothing_of_the_written_rating_past_it(sandbox, redis, named):
    settings = {"cache__redis_url": redis.url, "cache__write_hold_seconds": 1}
    async with gateway_on(sandbox, **settings) as one, gateway_on(sandbox, **settings) as two:
        await one.rate("albums", ONE, -1)
        sandbox.rate(ADA, Kind.ALBUMS, ONE, 1)  # in Apple's own app
        assert (await one.ask("POST", "/-/purge", body=named)).json == {"purged": True}
        for caller in (one, two):
            assert (await caller.get("albums", [ONE])).values == {ONE: -1}
        await asyncio.sleep(1)
        for caller in (one, two):
            assert (await caller.get("albums", [ONE])).values == {ONE: 1}


async def test_an_odd_answer_at_one_does_not_hide_what_was_written_through_the_other(pair, sandbox):
    path = f"{ROOT}/albums/{ONE}?platform=web"
    sandbox.faults.add(Misshape("no-data"), where=READS, times=2)
    assert (await pair.two.ask("GET", path)).cache == "fwd=bypass"
    sandbox.faults.add(Lag(60), where=WRITES)
    await pair.one.rate("albums", ONE, -1)
    assert (await pair.two.ask("GET", path)).values == {ONE: -1}


async def test_a_429_at_one_gateway_slows_the_other(pair, sandbox):
    limit = "gateway_upstream_concurrency_limit"
    before = pair.two.sample(limit)
    sandbox.faults.add(CannedReply(429), times=1)
    await pair.one.get("albums", [ONE])
    await until(lambda: pair.two.sample(limit) < before)


async def test_a_written_rating_outlives_the_gateway_that_wrote_it(sandbox, redis):
    sandbox.faults.add(Lag(60), where=WRITES)
    body = {"type": "rating", "attributes": {"value": -1}}
    async with process(sandbox, cache__redis_url=redis.url) as writer, ClientSession() as session:
        url = f"{writer.api}{ROOT}/albums/{ONE}"
        async with session.put(url, json=body, headers={"Music-User-Token": ADA}) as answer:
            writer.process.kill()
            assert answer.status == 200
    async with gateway_on(sandbox, cache__redis_url=redis.url) as other:
        assert (await other.get("albums", [ONE])).values == {ONE: -1}


async def test_a_write_whose_caller_waits_long_is_still_seen_by_a_later_write_of_the_id(sandbox, redis):
    settings = {
        "cache__redis_url": redis.url,
        "cache__write_hold_seconds": 0.1,
        "server__request_timeout_seconds": 0.1,
        "upstream__call_timeout_seconds": 2,
    }
    default_term = 0.1 + 2 + 2
    waits_long = {"X-Request-Timeout-Ms": "40000"}
    loop = asyncio.get_running_loop()
    async with gateway_on(sandbox, **settings) as one, gateway_on(sandbox, **settings) as two:
        sandbox.faults.add(CannedReply(429, retry_after=3), where=WRITES, times=1)
        first = asyncio.ensure_future(one.rate("albums", ONE, 1, headers=waits_long))
        await until(lambda: one.sample("gateway_upstream_throttled_total") == 1)
        begun = loop.time()
        answer = sandbox.hold(WRITES, at="answer", times=1)
        await answer.reached()

        await asyncio.sleep(begun + default_term + 0.1 - loop.time())
        assert (await two.rate("albums", ONE, -1, headers=waits_long)).status == 200
        await asyncio.sleep(0.15)
        answer.release()
        assert (await first).status == 200

        # Apple carried out the first write before the second.
        for caller in (one, two):
            assert (await caller.one("albums", ONE, headers=waits_long)).values == {ONE: -1}
