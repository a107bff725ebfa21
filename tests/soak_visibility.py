"""Counts old reads after writes: `python -m tests.soak_visibility [--seconds 600] [--gateways 3]`.

Several gateways on one Redis behind Sentinel, every write checked (`cache.visibility_fraction = 1`), an Apple
that reports a write only after a second, and users who read and write side by side through any gateway. The
master is killed now and then. Prints the visibility checks of all gateways by result, and each stale one with
the write's timeline; fails if one is stale outside the seconds of a failover.

A failover lasts from the kill until every gateway is subscribed again. What the replica had not received by
then is lost, and Redis does not know the writes made meanwhile. So a check is not held to the promise if
these seconds, or the one before or after, lie between the publication and the check.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

from aiohttp import ClientSession

from gateway.ops.formatting import stale_bound
from gateway.sandbox import Lag, Sandbox, Where
from tests.e2e.harness import Client
from tests.e2e.processes import process
from tests.redis_sentinel import NAME, Watched, watched_by_sentinel
from tests.redis_server import RedisServer

CHECKS = "gateway_write_visibility_checks_total"
MISSED = "gateway_invalidations_missed_total"
LAG = "gateway_invalidation_lag_seconds"
LAG_SECONDS = 1.0
IDS = range(1, 41)
IDS_PER_READ = 5
WRITES = 0.5
"""Share of the requests."""
LAST_CHECK_SECONDS = 6.0
VARIANTS = ("", "&l=de")


class Failover(NamedTuple):
    """Epoch seconds; clocks of this machine and of Redis on it are the same."""

    began: float
    ended: float

    def touches(self, published: float, checked: float) -> bool:
        return self.began - 1.0 <= checked and published <= self.ended + 1.0


class Soak:
    """The load and its results."""

    def __init__(self, gateways: list[Client], users: list[str], seed: int = 1) -> None:
        self._gateways = gateways
        self._users = users
        self._chance = random.Random(seed)
        self.requests: Counter[str] = Counter()
        self.stale: list[dict[str, object]] = []
        self.failovers: list[Failover] = []

    async def load(self, until: float) -> None:
        await asyncio.gather(*(self._user(user, until) for user in self._users))

    async def _user(self, user: str, until: float) -> None:
        while time.monotonic() < until:
            gateway, id_ = self._chance.choice(self._gateways), self._chance.choice(IDS)
            if self._chance.random() < WRITES:
                reply = await gateway.rate("albums", id_, self._chance.choice((1, -1)), user=user)
                kind = "write"
            else:
                ids = {id_, *self._chance.sample(IDS, IDS_PER_READ - 1)}
                reply = await gateway.get("albums", ids, self._chance.choice(VARIANTS), user=user)
                kind = "read"
            self.requests[f"{kind} {reply.status}"] += 1

    async def collect(self, output: asyncio.StreamReader) -> None:
        """Keep the stale checks that a gateway logs."""
        async for line in output:
            if b'"stale_after_write"' in line:
                self.stale.append(json.loads(line))

    async def fail_over(self, watched: Watched, every: float, until: float) -> None:
        master, replica = watched.master, watched.replica
        while time.monotonic() + every < until - LAST_CHECK_SECONDS:
            await asyncio.sleep(every)
            began = time.time()
            master.kill()
            await self._promoted(watched, replica)
            await self._subscribed()
            self.failovers.append(Failover(began, time.time()))
            master.start()  # Sentinel makes it a replica of the other
            master, replica = replica, master

    async def _promoted(self, watched: Watched, replica: RedisServer) -> None:
        def promoted() -> bool:
            with watched.sentinel.client() as sentinel, replica.client() as client:
                _, port = sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
                return int(port) == replica.port and client.info("replication")["role"] == "master"

        while not promoted():  # noqa: ASYNC110 - no event outside announces it
            await asyncio.sleep(0.1)

    async def _subscribed(self) -> None:
        for gateway in self._gateways:
            while True:
                found = await gateway.metrics()
                if found["gateway_subscription_up"] and not found['gateway_breaker_state{target="redis"}']:
                    break
                await asyncio.sleep(0.1)

    @property
    def beyond(self) -> list[dict[str, object]]:
        """The stale checks of writes outside every failover."""
        return [
            found
            for found in self.stale
            if not any(
                failover.touches(float(str(found["published"])), float(str(found["checked"])))
                for failover in self.failovers
            )
        ]


@asynccontextmanager
async def fleet(
    sandbox: Sandbox, url: str, size: int
) -> AsyncIterator[tuple[list[Client], list[asyncio.StreamReader]]]:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(ClientSession())
        clients, outputs = [], []
        for _ in range(size):
            made = await stack.enter_async_context(
                process(
                    sandbox,
                    cache__redis_url=url,
                    cache__redis_timeout_ms=200,
                    cache__visibility_fraction=1,
                    log__sample_hits=0,
                )
            )
            assert made.process.stdout is not None
            clients.append(Client(session, made.api, made.ops))
            outputs.append(made.process.stdout)
        yield clients, outputs


async def run(given: argparse.Namespace) -> int:
    users = [f"soak-user-{number}" for number in range(given.users)]
    async with Sandbox() as sandbox:
        for user in users:
            sandbox.store.add_user(user)
        sandbox.faults.add(Lag(LAG_SECONDS), where=Where(method="PUT"))
        with watched_by_sentinel() as watched:
            async with fleet(sandbox, watched.url, given.gateways) as (clients, outputs):
                soak = Soak(clients, users)
                reading = [asyncio.create_task(soak.collect(output)) for output in outputs]
                until = time.monotonic() + given.seconds
                failing = asyncio.create_task(soak.fail_over(watched, given.failover_every, until))
                await soak.load(until)
                await failing
                await asyncio.sleep(LAST_CHECK_SECONDS)
                counted = [await client.metrics() for client in clients]
                for task in reading:
                    task.cancel()
    report(soak, counted)
    return 1 if soak.beyond else 0


def report(soak: Soak, counted: list[dict[str, float]]) -> None:
    total: Counter[str] = Counter()
    for samples in counted:
        total.update(samples)
    say(f"requests: {dict(sorted(soak.requests.items()))}")
    for after in ("0.1", "1", "5"):
        for tier in ("local", "shared"):
            found = {
                result: int(total[f'{CHECKS}{{after="{after}",result="{result}",tier="{tier}"}}'])
                for result in ("agree", "newer", "absent", "stale")
            }
            say(f"after {after} s, {tier}: {found}")
    checks = {name: count for name, count in total.items() if name.startswith(CHECKS)}
    conclusive = sum(count for name, count in checks.items() if '"agree"' in name or '"stale"' in name)
    say(f"checks: {int(sum(checks.values())):,}, of them agree or stale: {int(conclusive):,}")
    say(f"invalidations received: {int(total[f'{LAG}_count']):,}, missed: {int(total[MISSED]):,}")
    for bound in ("0.005", "0.025", "0.1", "1.0"):
        share = total[f'{LAG}_bucket{{le="{bound}"}}'] / max(total[f"{LAG}_count"], 1)
        say(f"  arrived within {bound} s: {share:.4%}")
    say(f"failovers: {[round(failover.ended - failover.began, 1) for failover in soak.failovers]} s")
    say(f"stale in a failover: {len(soak.stale) - len(soak.beyond)}; outside: {len(soak.beyond)}")
    say(f"outside failovers: {stale_bound(len(soak.beyond), int(conclusive))}")
    for event in soak.beyond[-40:]:
        say(json.dumps(event))


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--gateways", type=int, default=3)
    parser.add_argument("--users", type=int, default=32)
    parser.add_argument("--failover-every", type=float, default=60)
    return asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
