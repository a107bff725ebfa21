"""Routing to the node that has a key: a real cluster of three masters, and a scripted node."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.exceptions import ClusterDownError

from gateway.breaker import State
from gateway.cache.invalidation import Drop, Throttled
from gateway.cache.redis import cluster as module
from gateway.cache.redis.layout import Keys
from gateway.model import Kind, Partition, User
from gateway.resolver import Resolver
from tests.cache.redis.black_hole import black_hole_at, hole_first
from tests.cache.redis.harness import (
    ALBUMS,
    GERMAN,
    LIBRARY,
    LIKED,
    ONE,
    TWO,
    WRITE_SECONDS,
    Side,
    asks_apple,
    side_of,
    topology_of,
)
from tests.cache.redis.scripted import ScriptedNode, bulk
from tests.ports import free_port
from tests.redis_cluster import RedisCluster, name_of, slot_of
from tests.waiting import until

KEY_OF_A_LATE_SLOT = "a"
"""Its slot is 15495."""
USERS = [User.of(f"user {number}") for number in range(30)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with RedisCluster(node_timeout_ms=2000) as cluster:
        yield cluster


@pytest.mark.redis_server
async def test_a_master_of_a_cluster_that_became_a_replica_is_left() -> None:
    with RedisCluster(node_timeout_ms=2000, replicas=True) as cluster:
        await until(cluster.agrees, 30)
        await until(cluster.follows, 30)
        async with side_of(cluster.url, listening=True) as side:
            assert await side.keep(ALBUMS, {ONE: LIKED})
            replica = cluster.replicas[cluster.nodes.index(cluster.owner(ALBUMS))]
            with replica.client() as client:
                await until(client.dbsize)
                client.execute_command("CLUSTER", "FAILOVER", "TAKEOVER")
                await until(lambda: client.info("replication")["role"] == "master", 30)
            async with asyncio.timeout(30):
                while await side.seen(ALBUMS, ONE) != LIKED:  # noqa: ASYNC110 - no event reports it
                    await asyncio.sleep(0.02)
            await until(lambda: side.link.state is State.CLOSED, 30)


@pytest.mark.redis_server
class TestCluster:
    @pytest.fixture
    async def side(self, cluster: RedisCluster) -> AsyncIterator[Side]:
        await until(cluster.agrees, 20)
        for node in cluster.nodes:
            with node.client() as client:
                client.flushall()
        async with side_of(cluster.url) as side:
            yield side

    async def test_users_are_spread_over_the_nodes(self, side: Side, cluster: RedisCluster) -> None:
        partitions = [Partition(user, Kind.ALBUMS) for user in USERS]
        for partition in partitions:
            assert await side.keep(partition, {ONE: LIKED})
        assert [await side.seen(partition, ONE) for partition in partitions] == [LIKED] * len(partitions)
        for node in cluster.nodes:
            with node.client() as client:
                assert client.dbsize()

    async def test_all_of_a_users_keys_are_in_one_slot(self, side: Side) -> None:
        """Otherwise the scripts that touch several of them would fail."""
        await side.keep(GERMAN, {ONE: LIKED})
        await side.keep(LIBRARY, {ONE: LIKED})
        assert await side.write(ALBUMS, ONE, None) is True
        assert await side.seen(GERMAN, ONE) is None
        assert asks_apple((await side.look(LIBRARY, ONE)), ONE)
        assert await side.store.purge(ALBUMS.user.key, None, None)

    async def test_invalidations_of_every_node_arrive(self, side: Side, cluster: RedisCluster) -> None:
        async with side_of(cluster.url, gateway_id="two", listening=True) as other:
            for user in USERS:
                await side.store.begin((user.key, Kind.STATIONS), ONE, WRITE_SECONDS)
            await side.store.publish(Throttled(1.0))
            wanted = {Drop(user.key, Kind.STATIONS, (ONE,)) for user in USERS} | {Throttled(1.0)}
            await until(lambda: wanted <= set(other.received))

    async def test_one_reachable_node_is_enough_to_find_the_others(
        self, cluster: RedisCluster, side: Side
    ) -> None:
        await side.keep(ALBUMS, {ONE: LIKED})
        for node in cluster.nodes:
            async with side_of(f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{node.port}") as other:
                assert await other.seen(ALBUMS, ONE) == LIKED

    async def test_an_address_of_a_node_that_is_a_black_hole_is_skipped(
        self, side: Side, cluster: RedisCluster
    ) -> None:
        port = cluster.nodes[0].port
        with black_hole_at(port):
            url = f"redis+cluster://redis.test:{port}"
            async with side_of(url, resolver=Resolver(hole_first)) as other:
                assert other.link.state is State.CLOSED
                assert await other.keep(ALBUMS, {ONE: LIKED})

    async def test_a_slot_is_followed_while_it_moves_and_afterwards(
        self, side: Side, cluster: RedisCluster
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

    async def test_a_lost_node_affects_only_its_own_users_until_it_returns(
        self, side: Side, cluster: RedisCluster
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
        assert (await side.look(ALBUMS, ONE)).shared_version is None
        assert await side.seen(elsewhere, ONE) == LIKED
        assert await side.store.begin((ALBUMS.user.key, Kind.ALBUMS), ONE, WRITE_SECONDS) is None
        lost.start()
        await until(lambda: side.link.state is State.CLOSED and not side.store.undelivered, 20)
        assert ONE in (await side.look(ALBUMS, ONE)).pending

    async def test_a_healthy_cluster_is_closed_from_the_first_report(self, cluster: RedisCluster) -> None:
        await until(cluster.agrees, 20)
        reported: list[State] = []
        async with topology_of(cluster.url, reported):
            pass
        assert set(reported) == {State.CLOSED}

    async def test_without_any_node_every_lookup_is_a_miss(self) -> None:
        async with side_of(f"redis+cluster://127.0.0.1:{free_port()}") as side:
            attempts = side.errors("connection")
            assert (await side.look(ALBUMS, ONE)).shared_version is None
            assert side.errors("connection") == attempts + 1 > 1
            assert side.link.state is State.OPEN


class TestSlotMap:
    @pytest.fixture
    async def node(self) -> AsyncIterator[ScriptedNode]:
        async with ScriptedNode() as node:
            yield node

    @pytest.mark.parametrize("host", [b"$-1\r\n", bulk(b""), bulk(b"127.0.0.1")])
    async def test_a_node_without_a_host_is_the_one_that_was_asked(
        self, node: ScriptedNode, host: bytes
    ) -> None:
        node.host = host
        async with side_of(node.url) as side:
            assert (await side.look(ALBUMS, ONE)).shared_version == b"0"

    @pytest.mark.parametrize(
        "reply",
        [b"-MOVED 1 127.0.0.1:1\r\n", b"-ASK 1 127.0.0.1:1\r\n", b"-CLUSTERDOWN Hash slot not served\r\n"],
    )
    async def test_a_redirection_to_an_unknown_node_is_a_miss_and_refreshes_the_map(
        self, node: ScriptedNode, reply: bytes
    ) -> None:
        node.reply = reply
        async with side_of(node.url) as side:
            before = node.maps
            assert (await side.look(ALBUMS, ONE)).shared_version is None
            assert side.errors("cluster") == 1
            await until(lambda: node.maps > before)

    async def test_a_node_that_left_the_cluster_is_dropped(self, node: ScriptedNode) -> None:
        async with ScriptedNode() as other, topology_of(node.url) as topology:
            node.owner = other.port
            assert topology.redirected(ClusterDownError("Hash slot not served")) is None
            await until(lambda: [each.name for each in topology.everywhere()] == [f"127.0.0.1:{other.port}"])
            assert topology.route("key").name == f"127.0.0.1:{other.port}"
            assert topology.state is State.CLOSED

    async def test_a_cluster_that_starts_later_is_found_without_a_request(self, node: ScriptedNode) -> None:
        await node.stop()
        async with topology_of(node.url) as topology:
            assert topology.state is State.OPEN
            await node.start()
            await until(lambda: topology.state is State.CLOSED)

    @pytest.mark.parametrize("slots", [0, 8000])
    async def test_slots_that_are_assigned_later_are_found_without_a_request(
        self, node: ScriptedNode, slots: int
    ) -> None:
        node.slots = slots
        async with topology_of(node.url) as topology:
            before = node.maps
            node.slots = 16_384
            await until(lambda: node.maps > before)
            await until(lambda: topology.state is State.CLOSED)
            assert topology.route(KEY_OF_A_LATE_SLOT).name == f"127.0.0.1:{node.port}"

    async def test_a_node_without_slots_does_not_replace_the_map_of_the_others(
        self, node: ScriptedNode
    ) -> None:
        async with ScriptedNode() as fresh:
            fresh.slots = 0
            async with topology_of(
                f"redis+cluster://127.0.0.1:{fresh.port},127.0.0.1:{node.port}"
            ) as topology:
                assert [each.name for each in topology.everywhere()] == [f"127.0.0.1:{node.port}"]
                assert fresh.maps == 1

    async def test_a_complete_map_is_not_fetched_again(
        self, node: ScriptedNode, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "REFRESH_SECONDS", 0.01)
        async with topology_of(node.url):
            began = time.monotonic()
            await until(lambda: time.monotonic() > began + 0.1)
            assert node.maps == 1
