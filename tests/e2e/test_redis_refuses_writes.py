"""A Redis that refuses writes still answers lookups, with ratings from before the writes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import NamedTuple

import pytest

from tests.e2e.harness import Caller, Reply, gateway_on, stored, until
from tests.ports import free_port
from tests.redis_server import RedisServer

pytestmark = pytest.mark.redis_server

ONE = "1138988512"
ANOTHER = "5"


class Fleet(NamedTuple):
    writer: Caller
    reader: Caller
    without_memory: Caller


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer("--enable-protected-configs", "yes") as redis:
        yield redis


@pytest.fixture
async def fleet(sandbox, redis) -> AsyncIterator[Fleet]:
    async with (
        gateway_on(sandbox, cache__redis_url=redis.url) as writer,
        gateway_on(sandbox, cache__redis_url=redis.url) as reader,
        gateway_on(sandbox, cache__redis_url=redis.url, cache__local_max_entries=0) as without_memory,
    ):
        yield Fleet(writer, reader, without_memory)


def lose_replicas(redis: RedisServer) -> None:
    with redis.client() as client:
        client.config_set("min-replicas-to-write", 1)


def find_replicas(redis: RedisServer) -> None:
    with redis.client() as client:
        client.config_set("min-replicas-to-write", 0)


def demote(redis: RedisServer) -> None:
    with redis.client() as client:
        client.replicaof("127.0.0.1", str(free_port()))


def promote(redis: RedisServer) -> None:
    with redis.client() as client:
        client.replicaof("NO", "ONE")


def fail_a_snapshot(redis: RedisServer) -> None:
    folder = redis.socket_path.parent / "gone"
    folder.mkdir()
    with redis.client() as client:
        client.config_set("save", "3600 1")
        client.config_set("dir", str(folder))
        folder.rmdir()
        client.bgsave()
        while client.info("persistence")["rdb_last_bgsave_status"] == "ok":
            pass


def take_a_snapshot(redis: RedisServer) -> None:
    with redis.client() as client:
        client.config_set("dir", str(redis.socket_path.parent))
        client.bgsave()
        while client.info("persistence")["rdb_last_bgsave_status"] != "ok":
            pass


@pytest.mark.parametrize(
    ("refuse", "accept"),
    [(lose_replicas, find_replicas), (demote, promote), (fail_a_snapshot, take_a_snapshot)],
    ids=["NOREPLICAS", "READONLY", "MISCONF"],
)
async def test_a_write_is_read_back_everywhere_and_redis_is_used_again_afterwards(
    fleet: Fleet,
    redis: RedisServer,
    refuse: Callable[[RedisServer], None],
    accept: Callable[[RedisServer], None],
):
    for caller in fleet:
        assert (await caller.get("albums", [ONE])).values == {ONE: 1}
    await stored()
    refuse(redis)
    assert (await fleet.writer.rate("albums", ONE, -1)).status == 200

    # No gateway can publish it: local entries are trusted for `local_trust_seconds` (1 s) more.
    for caller in fleet:
        await reads(caller, ONE, lambda reply: reply.values == {ONE: -1})
    await reads(fleet.without_memory, ONE, lambda reply: reply.cache != "hit")
    assert fleet.reader.sample("gateway_breaker_state", target="redis") == 2
    assert (await fleet.reader.metrics())['gateway_shared_cache_errors_total{kind="readonly"}'] > 0

    accept(redis)
    await reads(fleet.without_memory, ANOTHER, lambda reply: reply.cache == "hit")
    for caller in fleet:
        assert (await caller.get("albums", [ONE])).values == {ONE: -1}
    # Each gateway learns from a heartbeat of its own.
    await until(lambda: fleet.reader.sample("gateway_breaker_state", target="redis") == 0)


async def reads(caller: Caller, id_: str, condition: Callable[[Reply], bool]) -> None:
    """Read the id until the answer meets `condition`."""
    async with asyncio.timeout(10):
        while not condition(await caller.get("albums", [id_])):
            pass
