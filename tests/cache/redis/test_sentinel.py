"""A real Sentinel: its master is found, and the new one after a failover."""

import asyncio
from collections.abc import Iterator

import pytest
from redis.exceptions import ResponseError

from gateway.breaker import State
from tests.cache.redis.harness import ALBUMS, LIKED, ONE, TWO, Side, side_of
from tests.redis_sentinel import NAME, Watched, watched_by_sentinel
from tests.redis_server import RedisServer
from tests.waiting import until

pytestmark = pytest.mark.redis_server


@pytest.fixture
def watched() -> Iterator[Watched]:
    with watched_by_sentinel() as watched:
        yield watched


async def in_order(side: Side) -> bool:
    """Whether a write arrives and is read."""
    await side.write(ALBUMS, TWO, None)
    return await side.seen(ALBUMS, TWO) is None


async def arrives(side: Side) -> None:
    for _ in range(1000):
        if await in_order(side):
            return
        await until(lambda: side.link.state is State.CLOSED and not side.tier._retry_queue, 20)
    raise AssertionError("no write arrives")


async def test_when_the_master_dies_the_new_one_is_found(watched: Watched) -> None:
    async with side_of(watched.url, listening=True) as side:
        await side.keep(ALBUMS, {ONE: LIKED})
        with watched.replica.client() as client:
            await until(client.dbsize)
        watched.master.kill()
        await until(lambda: side.link.state is State.OPEN)
        await until(lambda: side.link.state is State.CLOSED, 20)
        assert await side.seen(ALBUMS, ONE) == LIKED
        await arrives(side)
        await until(lambda: side.subscription_up == 1, 20)


async def test_when_the_master_is_exchanged_writes_go_to_the_new_one(watched: Watched) -> None:
    async with side_of(watched.url) as side:
        assert await side.write(ALBUMS, ONE, LIKED)
        await until(lambda: fails_over(watched.sentinel), 20)
        with watched.replica.client() as client:
            await until(lambda: client.info("replication")["role"] == "master", 20)
            client.flushall()
            for _ in range(500):  # the old one still takes writes, for up to eight seconds
                await side.write(ALBUMS, TWO, LIKED)
                if client.dbsize():
                    break
                await asyncio.sleep(0.01)
            assert client.dbsize()
        with watched.master.client() as client:
            assert client.info("replication")["role"] == "master"


def fails_over(sentinel: RedisServer) -> bool:
    """Whether the Sentinel, asked to, begins; it does not before it has heard enough of the replica."""
    with sentinel.client() as client:
        try:
            client.execute_command("SENTINEL", "FAILOVER", NAME)
        except ResponseError:
            return False
        return True


async def test_a_name_that_no_sentinel_knows_is_a_miss(watched: Watched) -> None:
    async with side_of(f"redis+sentinel://127.0.0.1:{watched.sentinel.port}/other") as side:
        assert side.link.state is State.OPEN
        assert (await side.look(ALBUMS, ONE)).version is None
