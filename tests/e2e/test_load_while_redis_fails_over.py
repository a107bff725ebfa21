"""A cluster and a Sentinel fail over under a steady load, and a Redis that is not ours is refused.

RATINGS_GATEWAY_FAULT_SECONDS lengthens the phases between, which otherwise last one second.

A failover loses what the replica has not received yet; such writes are not promised. So the writers pause
until the replica has all of their writes, then the master is killed, and every answer is judged strictly: for
writes before, for those without a master, which Redis receives later, and for those after. Apple does not lag
here: while Redis is down, Apple's report counts.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.model import Kind, Partition, User
from gateway.sandbox import ADA, Sandbox
from tests.cache.redis.certificates import Authority, tls_server
from tests.e2e.harness import Caller, gateway_on
from tests.e2e.load import IDS, OWN, Load, Truth
from tests.redis_cluster import RedisCluster, is_in_step
from tests.redis_sentinel import watched_by_sentinel
from tests.redis_server import RedisServer
from tests.waiting import until

PHASE_SECONDS = float(os.environ.get("RATINGS_GATEWAY_FAULT_SECONDS", "1"))
NODE_TIMEOUT_MS = 1000
FAILOVER_SECONDS = 15.0
"""Detection and election are Redis' own, and take 1 to 3 s where the machine is not busy."""

pytestmark = pytest.mark.redis_server


@asynccontextmanager
async def loaded(sandbox: Sandbox, url: str, **settings: object) -> AsyncIterator[tuple[Caller, Load]]:
    """A gateway whose local tier is too small for the load, so that Redis is asked all the time."""
    truth = Truth(sandbox)
    async with gateway_on(
        sandbox, cache__redis_url=url, cache__local_max_entries=60, log__level="warning", **settings
    ) as gateway:
        load = Load(gateway, truth)
        async with load.running():
            await asyncio.sleep(PHASE_SECONDS)
            yield gateway, load
            await asyncio.sleep(PHASE_SECONDS / 2)
    assert load.wrong == []
    assert load.failed == []


def tell(what: str, load: Load, outcome: str) -> None:
    print(  # noqa: T201 - the figures of docs/reliability.md: pytest -rP
        f"{what}: {len(load.judged)} reads, {load.writes} writes, {len(load.wrong)} wrong, "
        f"{len(load.failed)} failed, {outcome}"
    )


async def take_away(
    master: RedisServer, replica: RedisServer, how: Callable[[RedisServer], None], load: Load
) -> None:
    """Take the master away once the replica has every write."""
    async with load.no_writes():
        told = replicated(master, "master_repl_offset")
        await until(lambda: replicated(replica, "slave_repl_offset") >= told)
        how(master)


def replicated(server: RedisServer, offset: str) -> int:
    with server.client() as client:
        return int(client.info("replication")[offset])


async def recovery(gateway: Caller) -> float:
    """Seconds until Redis serves hits to both users again, and news comes in."""
    began = time.monotonic()
    async with asyncio.timeout(FAILOVER_SECONDS):
        while True:
            replies = [await gateway.get("albums", IDS, user=user) for user in OWN]
            up = (await gateway.metrics())["gateway_subscription_up"]
            if up and all(reply.counts["shared"] for reply in replies):
                return time.monotonic() - began
            await asyncio.sleep(0.05)


async def test_a_cluster_whose_masters_are_paused_and_killed(sandbox):
    with RedisCluster(node_timeout_ms=NODE_TIMEOUT_MS, replicas=True) as cluster:
        await until(cluster.follows, 20)
        await until(cluster.agrees, 20)
        first = cluster.owner(Partition(User.of(ADA), Kind.ALBUMS))
        second = cluster.replicas[cluster.nodes.index(first)]
        async with loaded(sandbox, cluster.url) as (gateway, load):
            await take_away(first, second, RedisServer.pause, load)
            after_pause = await recovery(gateway)
            await asyncio.sleep(PHASE_SECONDS / 2)
            first.resume()
            # It finds that it is a master no longer, and follows the one that took over.
            await until(lambda: is_in_step(first), FAILOVER_SECONDS)
            await take_away(second, first, RedisServer.kill, load)
            after_kill = await recovery(gateway)
        tell("cluster", load, f"back {after_pause:.1f} s after the pause, {after_kill:.1f} s after the kill")


async def test_a_sentinel_whose_master_is_killed(sandbox):
    with watched_by_sentinel() as watched:
        async with loaded(sandbox, watched.url) as (gateway, load):
            await take_away(watched.master, watched.replica, RedisServer.kill, load)
            recovered = await recovery(gateway)
        tell("sentinel", load, f"back in {recovered:.1f} s")


async def test_nothing_is_sent_to_a_redis_with_a_certificate_of_another_authority(sandbox, tmp_path: Path):
    trusted, other = Authority(tmp_path, "trusted"), Authority(tmp_path, "other")
    with tls_server(other, other.issue("server", "127.0.0.1"), asks_client=False) as server:
        before = commands(server)
        url = f"rediss://127.0.0.1:{server.tls_port}"
        async with loaded(sandbox, url, cache__redis_ca_file=trusted.file) as (gateway, load):
            errors = gateway.sample("gateway_shared_cache_errors_total", kind="denied")
        assert commands(server) == before
    tell("TLS", load, f"{errors:.0f} counted as denied")
    assert errors


def commands(server: RedisServer) -> set[str]:
    """Every command that it was ever given, but for this look at it."""
    with server.client() as client:
        return set(client.info("commandstats")) - {"cmdstat_info"}
