"""Memory under endless traffic: `python -m tests.soak [--requests 1000000] [--users 100000]`.

Drives reads and writes of many users, with few repeats, through the cache, the flights and the writer, below
HTTP and over an Apple that answers at once, on a simulated clock: an hour per 100,000 requests. Prints
the resident memory and the size of every internal table at each tenth.
"""

import argparse
import asyncio
import random
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import NamedTuple

from gateway.apple.client import AppleSuccess, Outbound
from gateway.apple.quarantine import Quarantine
from gateway.cache.cache import Cache
from gateway.cache.entry import Freshness
from gateway.cache.memory import MemoryCache
from gateway.cache.write_log import WriteLog
from gateway.fetch.single_flight import SingleFlight
from gateway.model import Id, Kind, Partition, Rating, User
from gateway.ratings.partition_read import Sources
from gateway.ratings.query import Part, Query
from gateway.ratings.read import Reader
from gateway.ratings.read_metrics import ReadMetrics
from gateway.ratings.refresh import Refresher
from gateway.ratings.write import Writer
from gateway.riders import Riders
from gateway.tasks import Tasks
from gateway.telemetry.metrics import Metrics
from gateway.waiters import Requester, Waiters
from tests.hand_clock import HandClock
from tests.waiting import other_tasks

SECONDS_EACH = 0.036
PAGE_BYTES = 4096


class Apple:
    """An Apple that rates every id 1 and accepts every write."""

    async def fetch(
        self, partition: Partition, ids: list[Id], *, riders: Riders, waiters: Waiters, deadline: float
    ) -> dict[Id, Rating]:
        return dict.fromkeys([*ids, *riders.ids], 1)

    def write_refusal(self, user: User) -> None:
        """No user is refused without a call."""

    async def send(self, call: Outbound, deadline: float, waiters: Waiters) -> AppleSuccess:
        return AppleSuccess(204, b"")


class Sizes(NamedTuple):
    """Sizes after a number of requests."""

    requests: int
    resident_mib: float
    entries: int
    bytes: int
    partitions: int
    write_log: int
    flights: int
    tasks: int


class Soak:
    """One gateway below HTTP."""

    def __init__(self, *, users: int, max_entries: int, seed: int = 1) -> None:
        self._users = users
        self._chance = random.Random(seed)
        self._clock = clock = HandClock()
        metrics = Metrics()
        tasks = Tasks(_fail)
        self.memory = MemoryCache(
            max_entries=max_entries, max_bytes=128 << 20, fresh_seconds=300, on_evict=lambda _: None
        )
        self.write_log = WriteLog(hold_seconds=10)
        apple = Apple()
        cache = Cache(
            memory=self.memory,
            write_log=self.write_log,
            shared=None,
            freshness=Freshness(300, 300, 86_400, 0.1),
            trusted_since=lambda _: float("-inf"),
            on_drop=lambda *dropped: self.flights.detach(*dropped),  # noqa: PLW0108 - made below
            clock=clock,
            tasks=tasks,
        )
        self.flights = SingleFlight(
            apple.fetch,  # type: ignore[arg-type]
            cache.store,
            cache.top_up.failed,
            size=lambda: 100,
            window_seconds=0.0,
            fetch_seconds=10.0,
            call_seconds=3.0,
            tasks=tasks,
            clock=clock,
            metrics=metrics,
        )
        quarantine = Quarantine(seconds=10, metrics=metrics)
        refresher = Refresher(self.flights, tasks, metrics)
        sources = Sources(cache, self.flights, quarantine, refresher, None, ReadMetrics(metrics))
        self._reader = Reader(sources, clock)
        self._writer = Writer(cache=cache, apple=apple, tasks=tasks, clock=clock, call_timeout_seconds=3.0)  # type: ignore[arg-type]

    async def run(self, requests: int) -> AsyncIterator[Sizes]:
        """The sizes after each tenth."""
        for tenth in range(1, 11):
            for _ in range(requests // 10):
                await self._request()
                self._clock.move(SECONDS_EACH)
            yield self.sizes(tenth * (requests // 10))

    def sizes(self, requests: int) -> Sizes:
        return Sizes(
            requests,
            round(resident_bytes() / 2**20, 1),
            self.memory.entries,
            self.memory.bytes,
            len(self.memory),
            len(self.write_log),
            len(self.flights),
            len(other_tasks()),
        )

    async def _request(self) -> None:
        user = User.of(f"user {self._chance.randrange(self._users)}")
        kind = self._chance.choice((Kind.ALBUMS, Kind.SONGS))
        id_ = Id(str(self._chance.randrange(1, 10**9)))
        if self._chance.random() < 0.05:
            deadline = self._clock.monotonic() + 10
            answer = await self._writer.write(user, kind, id_, 1, "", deadline, Requester())
            assert isinstance(answer, AppleSuccess)
            return
        ids = (id_, *(Id(str(n)) for n in range(1, 5)))
        assert not (await self._reader.read(Query(user, (Part(kind, ids),)))).failures


def resident_bytes() -> int:
    """Resident memory of this process, from Linux."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


def _fail(name: str, error: BaseException) -> None:
    raise AssertionError(name) from error


async def report(soak: Soak, requests: int) -> None:
    say(Sizes._fields)
    async for sizes in soak.run(requests):
        say(sizes)


def say(row: Iterable[object]) -> None:
    sys.stdout.write("  ".join(map(str, row)) + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--max-entries", type=int, default=200_000)
    given = parser.parse_args()
    soak = Soak(users=given.users, max_entries=given.max_entries)
    asyncio.run(report(soak, given.requests))


if __name__ == "__main__":
    main()
