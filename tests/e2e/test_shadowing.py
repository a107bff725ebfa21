"""`cache.shadow_fraction`: hits compared with Apple behind the answer, and never in anybody's way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.model import Kind
from gateway.ratings.shadow import compare
from gateway.sandbox import ADA, BEN, Hold, Reply, Sandbox, Where
from tests.e2e.harness import Caller, gateway_on
from tests.redis_server import RedisServer

ID, OTHER, UNRATED = "1138988512", "475655712", "5000000000"


@asynccontextmanager
async def checking(sandbox: Sandbox, **settings: object) -> AsyncIterator[Caller]:
    async with gateway_on(sandbox, cache__shadow_fraction=1, **settings) as caller:
        yield caller


async def checks(caller: Caller) -> dict[str, int]:
    """What was counted, once no check is under way."""
    running = caller.served.gateway.tasks._running
    while tasks := [task for task in running if task.get_name() in ("shadow", "fetch", "fill")]:
        await asyncio.wait(tasks)
    found = await caller.metrics()
    return {
        result: int(count)
        for result in ("agree", "changed", "error")
        if (count := found.get(f'gateway_shadow_checks_total{{result="{result}"}}'))
    }


async def test_a_local_hit_that_apple_still_says_agrees(sandbox: Sandbox):
    async with checking(sandbox) as gateway:
        await gateway.get("albums", [ID, OTHER, UNRATED])
        assert await checks(gateway) == {}
        assert (await gateway.get("albums", [ID, OTHER, UNRATED])).cache == "hit"
        assert await checks(gateway) == {"agree": 3}


async def test_a_rating_changed_at_apple_is_seen_and_the_cache_is_left_as_it_is(sandbox: Sandbox):
    async with checking(sandbox) as gateway:
        await gateway.get("albums", [ID, UNRATED])
        sandbox.rate(ADA, Kind.ALBUMS, ID, -1)
        sandbox.rate(ADA, Kind.ALBUMS, UNRATED, 1)
        await gateway.get("albums", [ID, UNRATED])
        assert await checks(gateway) == {"changed": 2}
        assert (await gateway.get("albums", [ID, UNRATED])).values == {ID: 1}


async def test_a_check_that_apple_fails_is_an_error(sandbox: Sandbox):
    async with checking(sandbox, upstream__attempts=1) as gateway:
        await gateway.get("albums", [ID])
        sandbox.faults.add(Reply(500))
        assert (await gateway.get("albums", [ID])).status == 200
        assert await checks(gateway) == {"error": 1}


async def test_a_value_within_its_hold_is_not_compared(sandbox: Sandbox):
    async with checking(sandbox) as gateway:
        await gateway.get("albums", [ID, OTHER])
        await gateway.rate("albums", ID, -1)
        sandbox.rate(ADA, Kind.ALBUMS, ID, 1)
        await gateway.get("albums", [OTHER])
        await gateway.get("albums", [ID, OTHER])
        assert await checks(gateway) == {"agree": 2}


async def test_what_is_written_while_it_is_being_checked_is_not_compared(sandbox: Sandbox):
    async with checking(sandbox) as gateway:
        await gateway.get("albums", [ID])
        held = sandbox.faults.add(Hold(at="answer"), where=Where(method="GET"))
        await gateway.get("albums", [ID])
        await held.reached()
        await gateway.rate("albums", ID, -1)
        held.release()
        assert await checks(gateway) == {}


async def test_a_held_up_check_holds_up_nobody(sandbox: Sandbox):
    async with checking(sandbox, upstream__max_concurrency=1) as gateway:
        await gateway.get("albums", [ID])
        held = sandbox.faults.add(Hold(), where=Where(id=ID))
        assert (await gateway.get("albums", [ID])).cache == "hit"
        await held.reached()
        hits = await asyncio.gather(*(gateway.get("albums", [ID]) for _ in range(30)))
        assert {hit.cache for hit in hits} == {"hit"}
        running = [task.get_name() for task in gateway.served.gateway.tasks._running]
        assert running.count("shadow") == 8
        held.release()
        assert await checks(gateway) == {"agree": 8}


async def test_without_the_setting_nothing_is_checked(sandbox: Sandbox):
    async with gateway_on(sandbox) as gateway:
        for _ in range(3):
            await gateway.get("albums", [ID])
        assert await checks(gateway) == {}
        assert sandbox.calls.total == 1


async def test_of_a_long_answer_a_hundred_ids_are_compared(sandbox: Sandbox):
    async with checking(sandbox) as gateway:
        ids = range(1, 251)
        await gateway.get("albums", ids)
        await gateway.get("albums", ids)
        assert await checks(gateway) == {"agree": 100}


@pytest.mark.redis_server
async def test_hits_of_the_shared_tier_are_compared_whole_and_in_part(sandbox: Sandbox):
    with RedisServer() as redis:
        settings = {"cache__redis_url": redis.url, "cache__local_max_entries": 0}
        async with checking(sandbox, **settings) as gateway:
            await gateway.get("albums", [ID, UNRATED])
            await checks(gateway)
            sandbox.rate(ADA, Kind.ALBUMS, UNRATED, 1)
            assert (await gateway.get("albums", [ID, UNRATED])).counts["shared"] == 2
            assert await checks(gateway) == {"agree": 1, "changed": 1}
            assert (await gateway.get("albums", [ID, OTHER])).counts["shared"] == 1
            assert await checks(gateway) == {"agree": 2, "changed": 1}


async def test_another_users_hits_are_compared_with_their_own_ratings(sandbox: Sandbox):
    sandbox.rate(BEN, Kind.ALBUMS, ID, -1)
    async with checking(sandbox) as gateway:
        for user in (ADA, BEN, ADA, BEN):
            await gateway.get("albums", [ID], user=user)
        assert await checks(gateway) == {"agree": 2}


async def test_a_stale_entry_is_refreshed_not_checked(sandbox: Sandbox):
    async with checking(sandbox) as gateway:
        await gateway.get("albums", [ID])
        gateway.clock.shift += 400
        await gateway.get("albums", [ID])
        assert await checks(gateway) == {}


@pytest.mark.parametrize(
    ("served", "now", "result"),
    [
        (b'{"id":"1","a":{"b":1,"c":2}}', b'{"a": {"c": 2, "b": 1}, "id": "1"}', "agree"),
        (b'{"id":"1","a":1}', b'{"id":"1","a":-1}', "changed"),
        (None, None, "agree"),
        (None, b'{"id":"1"}', "changed"),
        (b'{"id":"1"}', None, "changed"),
    ],
)
def test_resources_are_compared_as_json(served: bytes | None, now: bytes | None, result: str):
    assert compare(served, now) == result
