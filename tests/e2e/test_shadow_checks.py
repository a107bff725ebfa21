"""`cache.shadow_fraction`: hits are compared with Apple in the background."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.model import Kind
from gateway.sandbox import ADA, BEN, Sandbox
from tests.e2e.harness import Caller, gateway_on
from tests.redis_server import RedisServer

ID, OTHER, UNRATED = "1138988512", "475655712", "5000000000"


@asynccontextmanager
async def checking(sandbox: Sandbox, **settings: object) -> AsyncIterator[Caller]:
    async with gateway_on(sandbox, cache__shadow_fraction=1, **settings) as caller:
        yield caller


async def checks(caller: Caller) -> dict[str, int]:
    """What was counted, once no check is under way."""
    while tasks := [task for task in asyncio.all_tasks() if task.get_name() in ("shadow", "fetch", "fill")]:
        await asyncio.wait(tasks)
    found = await caller.metrics()
    return {
        result: int(count)
        for result in ("agree", "changed", "error")
        if (count := found.get(f'gateway_shadow_checks_total{{result="{result}"}}'))
    }


async def test_hits_in_memory_agree_with_apple(sandbox: Sandbox):
    async with checking(sandbox) as gateway:
        await gateway.get("albums", [ID, OTHER, UNRATED])
        assert await checks(gateway) == {}
        assert (await gateway.get("albums", [ID, OTHER, UNRATED])).cache == "hit"
        assert await checks(gateway) == {"agree": 3}


async def test_a_rating_that_changed_at_apple_is_counted_and_the_cache_stays_as_it_is(sandbox: Sandbox):
    async with checking(sandbox) as gateway:
        await gateway.get("albums", [ID, UNRATED])
        sandbox.rate(ADA, Kind.ALBUMS, ID, -1)
        sandbox.rate(ADA, Kind.ALBUMS, UNRATED, 1)
        await gateway.get("albums", [ID, UNRATED])
        assert await checks(gateway) == {"changed": 2}
        assert (await gateway.get("albums", [ID, UNRATED])).values == {ID: 1}


async def test_without_the_setting_nothing_is_checked(sandbox: Sandbox):
    async with gateway_on(sandbox) as gateway:
        for _ in range(3):
            await gateway.get("albums", [ID])
        assert await checks(gateway) == {}
        assert sandbox.calls.total == 1


@pytest.mark.redis_server
async def test_hits_in_redis_are_compared_also_beside_misses(sandbox: Sandbox):
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


async def test_hits_are_compared_with_the_ratings_of_their_user(sandbox: Sandbox):
    sandbox.rate(BEN, Kind.ALBUMS, ID, -1)
    async with checking(sandbox) as gateway:
        for user in (ADA, BEN, ADA, BEN):
            await gateway.get("albums", [ID], user=user)
        assert await checks(gateway) == {"agree": 2}
