"""Routing to the master that a real Sentinel names."""

import asyncio
from collections.abc import Iterator

import pytest
from redis.exceptions import ResponseError

from gateway.breaker import State
from tests.cache.redis.harness import (
    ALBUMS,
    LIKED,
    ONE,
    TWO,
    Side,
    side_of,
)
from tests.redis_sentinel import NAME, Watched, watched_by_sentinel
from tests.redis_server import RedisServer
from tests.waiting import until


@pytest.mark.redis_server
class TestSentinel:
    @pytest.fixture
    def watched(self) -> Iterator[Watched]:
        with watched_by_sentinel() as watched:
            yield watched

    async def test_after_the_master_dies_the_new_one_is_used(self, watched: Watched) -> None:
        async with side_of(watched.url, listening=True) as side:
            await side.keep(ALBUMS, {ONE: LIKED})
            with watched.replica.client() as client:
                await until(client.dbsize)
            watched.master.kill()
            await until(lambda: side.link.state is State.OPEN)
            await until(lambda: side.link.state is State.CLOSED, 20)
            assert await side.seen(ALBUMS, ONE) == LIKED
            await self.until_writes_arrive(side)
            await until(lambda: side.subscription_up == 1, 20)

    async def until_writes_arrive(self, side: Side) -> None:
        for _ in range(1000):
            await side.write(ALBUMS, TWO, None)
            if await side.seen(ALBUMS, TWO) is None:
                return
            await until(lambda: side.link.state is State.CLOSED and not side.store.undelivered, 20)
        raise AssertionError("no write arrives")

    async def test_after_a_planned_failover_writes_go_to_the_new_master(self, watched: Watched) -> None:
        async with side_of(watched.url) as side:
            assert await side.write(ALBUMS, ONE, LIKED)
            await until(lambda: begins_failover(watched.sentinel), 20)
            with watched.replica.client() as client:
                await until(lambda: client.info("replication")["role"] == "master", 20)
                client.flushall()
                async with asyncio.timeout(20):  # the old one still takes writes, for up to eight seconds
                    while not client.dbsize():
                        await side.write(ALBUMS, TWO, LIKED)
                        await asyncio.sleep(0.01)
            with watched.master.client() as client:
                assert client.info("replication")["role"] == "master"

    async def test_a_service_unknown_to_every_sentinel_is_a_miss(self, watched: Watched) -> None:
        async with side_of(f"redis+sentinel://127.0.0.1:{watched.sentinel.port}/other") as side:
            assert side.link.state is State.OPEN
            assert (await side.look(ALBUMS, ONE)).shared_version is None


def begins_failover(sentinel: RedisServer) -> bool:
    """Whether the Sentinel begins a failover: it refuses until it has seen enough of the replica."""
    with sentinel.client() as client:
        try:
            client.execute_command("SENTINEL", "FAILOVER", NAME)
        except ResponseError:
            return False
        return True
