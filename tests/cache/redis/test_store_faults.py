"""The Redis store while Redis is away, stopped, full or read-only: lookups are misses."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.breaker import State
from gateway.cache.invalidation import Throttled
from gateway.model import Id, Kind
from tests.cache.redis.harness import (
    ALBUMS,
    DISLIKED,
    LIKED,
    ONE,
    TWO,
    USER,
    WRITE_SECONDS,
    Side,
    cut_off,
    side_of,
)
from tests.faultproxy import FaultProxy
from tests.ports import free_port
from tests.redis_server import RedisServer
from tests.waiting import until

pytestmark = pytest.mark.redis_server


@pytest.fixture
async def one(mortal: RedisServer) -> AsyncIterator[Side]:
    async with side_of(mortal.url) as side:
        yield side


async def taken_away(server: RedisServer, *sides: Side) -> None:
    server.kill()
    for side in sides:
        await until(lambda side=side: side.link.state is State.OPEN)  # type: ignore[misc]


async def test_without_redis_every_lookup_is_a_miss_at_once(one: Side, mortal: RedisServer) -> None:
    await taken_away(mortal, one)
    assert (await one.look(ALBUMS, ONE)).shared_version is None
    assert await one.store.fill(ALBUMS, b"0", {ONE: LIKED}) is None
    assert one.breaker == State.OPEN
    assert one.errors("unavailable") >= 2


async def test_a_gateway_starts_without_redis_and_uses_it_once_it_is_there() -> None:
    server = RedisServer()
    async with side_of(server.url) as side:
        assert (await side.look(ALBUMS, ONE)).shared_version is None
        with server:
            assert await until(lambda: side.link.state is State.CLOSED) < 2
            assert (await side.look(ALBUMS, ONE)).shared_version == b"0"


async def test_redis_is_used_again_within_two_seconds_of_its_return(one: Side, mortal: RedisServer) -> None:
    await taken_away(mortal, one)
    mortal.start()
    assert await until(lambda: one.link.state is State.CLOSED) < 2
    assert await one.keep(ALBUMS, {ONE: LIKED})
    assert await one.seen(ALBUMS, ONE) == LIKED
    assert one.breaker == State.CLOSED


async def test_lookups_in_flight_when_redis_dies_are_misses(one: Side, mortal: RedisServer) -> None:
    mortal.pause()
    looking = [asyncio.ensure_future(one.look(ALBUMS, ONE)) for _ in range(5)]
    await asyncio.sleep(0)
    mortal.kill()
    assert {(await each).shared_version for each in looking} == {None}


async def test_a_hung_redis_is_a_miss_after_the_timeout_and_then_at_once(mortal: RedisServer) -> None:
    async with side_of(mortal.url, lookup_seconds=0.05) as side:
        await side.keep(ALBUMS, {ONE: LIKED})
        mortal.pause()
        assert (await side.look(ALBUMS, ONE)).shared_version is None
        assert side.errors("timeout") == 1
        await until(lambda: side.link.state is State.OPEN)
        mortal.resume()
        assert await until(lambda: side.link.state is State.CLOSED) < 2
        assert await side.seen(ALBUMS, ONE) == LIKED


async def test_a_caller_that_leaves_does_not_stop_its_write(one: Side) -> None:
    writing = asyncio.ensure_future(one.store.begin((USER.key, Kind.ALBUMS), ONE, WRITE_SECONDS))
    await asyncio.sleep(0)
    writing.cancel()
    await until(lambda: "redis begin" not in {task.get_name() for task in asyncio.all_tasks()})
    assert ONE in (await one.look(ALBUMS, ONE)).pending


async def test_a_connection_that_redis_closes_while_it_is_up_costs_no_lookups(mortal: RedisServer) -> None:
    async with side_of(mortal.url, listening=True) as side:
        await side.keep(ALBUMS, {ONE: LIKED})
        with mortal.client() as client:
            client.client_kill_filter(_type="normal", skipme=True)
        await until(lambda: State.OPEN in side.states)
        await until(lambda: side.link.state is State.CLOSED)
        assert await side.seen(ALBUMS, ONE) == LIKED
        assert "missed writes are being replayed" not in side.reasons


async def test_a_full_redis_stores_no_fills_but_takes_writes(server: RedisServer, near: Side) -> None:
    ids = [Id(str(number)) for number in range(2, 2000)]
    await near.keep(ALBUMS, {ONE: DISLIKED})
    with server.client() as client:
        client.config_set("maxmemory", 1)
        try:
            assert await near.store.fill(ALBUMS, b"0", dict.fromkeys(ids)) is None
            assert near.errors("full") == 1
            assert await near.write(ALBUMS, ONE, LIKED) is True
            assert await near.seen(ALBUMS, ONE) == LIKED
            assert await near.store.purge(USER.key, None, None)
        finally:
            client.config_set("maxmemory", 0)


async def test_a_replica_is_read_and_refuses_writes(server: RedisServer, near: Side) -> None:
    await near.keep(ALBUMS, {ONE: LIKED})
    with server.client() as client:
        client.replicaof("127.0.0.1", str(free_port()))
        try:
            assert await near.seen(ALBUMS, ONE) == LIKED
            assert await near.store.begin((USER.key, Kind.ALBUMS), TWO, WRITE_SECONDS) is None
            assert near.errors("readonly") == 1
        finally:
            client.replicaof("NO", "ONE")
    await until(lambda: not near.store.undelivered)


async def test_an_invalidation_that_cannot_be_published_is_counted(far: Side, proxy: FaultProxy) -> None:
    await cut_off(proxy, far)
    await far.store.publish(Throttled(1.0))
    assert far.errors("unavailable") == 1


async def test_an_address_that_leads_to_another_master_is_opened_again_although_the_old_one_answers() -> None:
    with RedisServer() as old, RedisServer() as new:
        async with (
            FaultProxy("127.0.0.1", old.port) as proxy,
            side_of(f"redis://127.0.0.1:{proxy.port}", listening=True) as side,
        ):
            assert await side.keep(ALBUMS, {ONE: LIKED})
            proxy.lead_to(new.port)
            with old.client() as client:
                client.replicaof("127.0.0.1", str(new.port))
            await until(lambda: side.link.state is State.OPEN)
            await until(lambda: side.link.state is State.CLOSED)
            assert await side.keep(ALBUMS, {ONE: LIKED})
            with new.client() as client:
                assert client.dbsize()
