"""A reader over memory, a fake shared tier and loads that the test ends."""

import asyncio
from collections.abc import Mapping, Sequence
from math import inf

from gateway.apple.quarantine import Quarantine
from gateway.cache.cache import Cache
from gateway.cache.entry import Freshness
from gateway.cache.memory import MemoryCache
from gateway.cache.write_log import WriteLog
from gateway.fill_token import FillToken
from gateway.model import PLAIN, Id, Kind, Partition, Rating, Variant
from gateway.ratings.partition_read import PartitionRead, Sources
from gateway.ratings.query import NO_DIRECTIVES, Answer, Directives, Part, Query
from gateway.ratings.read import Reader
from gateway.ratings.read_metrics import ReadMetrics
from gateway.ratings.refresh import Refresher
from tests.cache.fake_shared_cache import FakeSharedCache
from tests.fetch.fake_loads import USER, FakeLoads, Loading

FRESH_SECONDS = 300.0
WRITE_SECONDS = 15.0


class Reads:
    """Reads the ratings of one user."""

    def __init__(self, redis: FakeSharedCache | None = None) -> None:
        self.fake = FakeLoads(storage=lambda: self.cache)
        self.clock = self.fake.clock
        self.metrics = self.fake.metrics
        self.cache = Cache(
            memory=MemoryCache(
                max_entries=1000, max_bytes=1_000_000, fresh_seconds=FRESH_SECONDS, on_evict=lambda _: None
            ),
            write_log=WriteLog(hold_seconds=10.0),
            shared=redis,
            freshness=Freshness(
                fresh_seconds=FRESH_SECONDS,
                stale_while_revalidate_seconds=60.0,
                stale_if_error_seconds=1000.0,
                jitter=0.0,
            ),
            trusted_since=lambda _: -inf,
            on_drop=self.fake.flights.detach,
            clock=self.clock,
            tasks=self.fake.tasks,
        )
        self.quarantine = Quarantine(seconds=10.0, metrics=self.metrics)
        self.sources = Sources(
            self.cache,
            self.fake.flights,
            self.quarantine,
            Refresher(self.fake.flights, self.fake.tasks, self.metrics),
            None,
            ReadMetrics(self.metrics),
        )
        self.reader = Reader(self.sources, self.clock)

    def store(self, ratings: Mapping[Id, Rating], kind: Kind = Kind.ALBUMS, variant: Variant = PLAIN) -> None:
        """Store ratings in memory, as fetched now."""
        now = self.clock.monotonic()
        self.cache.store(Partition(USER, kind, variant), FillToken(0, now, b"1"), ratings)

    def partition_read(self, query: Query) -> PartitionRead:
        (part,) = query.parts
        return PartitionRead(self.sources, query, part, self.clock.monotonic())

    def recalled(self, query: Query) -> PartitionRead:
        """A read that has looked memory up."""
        read = self.partition_read(query)
        read.recall()
        return read

    async def load(self, reading: asyncio.Task[Answer]) -> Loading:
        """Return the only load that `reading` waits for."""
        (load,) = await self.fake.begun(1)
        assert not reading.done()
        return load

    def counted(self, tier: str, result: str) -> float:
        self.metrics.flush()
        labels = {"tier": tier, "result": result}
        return self.metrics.registry.get_sample_value("gateway_cache_ids_total", labels) or 0.0

    async def close(self) -> None:
        self.fake.flights.close()
        await self.fake.tasks.cancel()


def query(
    *parts: tuple[Kind, Sequence[Id]],
    directives: Directives = NO_DIRECTIVES,
    variant: Variant = PLAIN,
    deadline: float = inf,
) -> Query:
    return Query(USER, tuple(Part(kind, ids) for kind, ids in parts), variant, directives, deadline=deadline)
