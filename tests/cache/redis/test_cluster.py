"""A real cluster of three masters: every slot is reached, and followed; a lost node costs only its own."""

from collections.abc import AsyncIterator, Iterator

import pytest

from gateway.breaker import State
from gateway.cache.invalidation import Drop, Throttled
from gateway.cache.redis.connect import Opener, Tls
from gateway.cache.redis.keys import Keys
from gateway.cache.redis.topology import build_topology
from gateway.cache.redis.url import parse_url
from gateway.model import Kind, Partition, User
from gateway.resolver import Resolver
from gateway.tasks import Tasks
from tests.cache.redis.harness import ALBUMS, GERMAN, LIBRARY, LIKED, ONE, TWO, Side, asks_apple, side_of
from tests.redis_cluster import RedisCluster, name_of, slot_of
from tests.redis_server import free_port
from tests.waiting import until

pytestmark = pytest.mark.redis_server


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with RedisCluster(node_timeout_ms=2000) as cluster:
        yield cluster


@pytest.fixture
async def side(cluster: RedisCluster) -> AsyncIterator[Side]:
    await until(cluster.agrees, 20)
    for node in cluster.nodes:
        with node.client() as client:
            client.flushall()
    async with side_of(cluster.url) as side:
        yield side


USERS = [User.of(f"user {number}") for number in range(30)]


async def test_users_are_spread_over_the_nodes_and_each_is_found(side: Side, cluster: RedisCluster) -> None:
    partitions = [Partition(user, Kind.ALBUMS) for user in USERS]
    for partition in partitions:
        assert await side.keep(partition, {ONE: LIKED})
    assert [await side.seen(partition, ONE) for partition in partitions] == [LIKED] * len(partitions)
    for node in cluster.nodes:
        with node.client() as client:
            assert client.dbsize()


async def test_writes_reach_twin_and_variants_in_the_same_slot(side: Side) -> None:
    await side.keep(GERMAN, {ONE: LIKED})
    await side.keep(LIBRARY, {ONE: LIKED})
    assert await side.write(ALBUMS, ONE, None) is True
    assert await side.seen(GERMAN, ONE) is None
    assert asks_apple((await side.look(LIBRARY, ONE)), ONE)
    assert await side.tier.purge(ALBUMS.user.key, None, None)


async def test_news_of_every_node_is_heard(side: Side, cluster: RedisCluster) -> None:
    async with side_of(cluster.url, gateway_id="two", listening=True) as other:
        for user in USERS:
            await side.tier.begin(user.key, Kind.STATIONS, ONE)
        await side.tier.publish(Throttled(1.0))
        wanted = {Drop(user.key, Kind.STATIONS, (ONE,)) for user in USERS} | {Throttled(1.0)}
        await until(lambda: wanted <= set(other.heard))


async def test_one_node_is_enough_to_find_the_others(cluster: RedisCluster, side: Side) -> None:
    await side.keep(ALBUMS, {ONE: LIKED})
    for node in cluster.nodes:
        async with side_of(f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{node.port}") as other:
            assert await other.seen(ALBUMS, ONE) == LIKED


async def test_a_slot_under_way_is_asked_for_in_both_places_and_then_followed(
    side: Side, cluster: RedisCluster
) -> None:
    slot, source = slot_of(ALBUMS), cluster.owner(ALBUMS)
    target = next(node for node in cluster.nodes if node is not source)
    key = Keys("ratings").main(ALBUMS.user.key, ALBUMS.kind)
    await side.keep(ALBUMS, {ONE: LIKED})
    with source.client() as old, target.client() as new:
        new.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", name_of(source))
        old.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", name_of(target))
        old.execute_command("MIGRATE", "127.0.0.1", target.port, key, 0, 5000)
        try:
            assert await side.seen(ALBUMS, ONE) == LIKED  # ASK
        finally:
            for client in (new, old):
                client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", name_of(target))
        assert await side.seen(ALBUMS, ONE) == LIKED  # MOVED
        assert await side.keep(ALBUMS, {TWO: None})
        assert new.exists(key)
        new.delete(key)
        for client in (old, new):
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", name_of(source))
    assert await side.seen(ALBUMS, ONE) == "miss"
    assert not side.errors("cluster")


async def test_a_lost_node_costs_only_its_own_users_and_is_found_again(
    side: Side, cluster: RedisCluster
) -> None:
    lost = cluster.owner(ALBUMS)
    elsewhere = next(
        Partition(user, Kind.ALBUMS)
        for user in USERS
        if cluster.owner(Partition(user, Kind.ALBUMS)) is not lost
    )
    await side.keep(elsewhere, {ONE: LIKED})
    lost.kill()
    await until(lambda: side.link.state is State.OPEN)
    assert (await side.look(ALBUMS, ONE)).version is None
    assert await side.seen(elsewhere, ONE) == LIKED
    assert await side.tier.begin(ALBUMS.user.key, Kind.ALBUMS, ONE) is None
    lost.start()
    await until(lambda: side.link.state is State.CLOSED and not side.tier._retry_queue, 20)
    assert ONE in (await side.look(ALBUMS, ONE)).pending


async def test_a_cluster_that_is_well_is_at_no_time_shown_as_away(cluster: RedisCluster) -> None:
    await until(cluster.agrees, 20)
    tasks, shown = Tasks(lambda *_: None), list[State]()
    opener = Opener(parse_url(cluster.url), Tls(), Resolver())
    topology = build_topology(opener, tasks, lambda: shown.append(topology.state))
    async with topology:
        pass
    assert set(shown) == {State.CLOSED}


async def test_a_cluster_that_is_away_is_a_miss() -> None:
    async with side_of(f"redis+cluster://127.0.0.1:{free_port()}", listening=False) as side:
        assert (await side.look(ALBUMS, ONE)).version is None
        assert side.errors("connection") == 1
        assert side.link.state is State.OPEN
