"""The parts of a gateway that the simulations run: cache, fetches, reader and writer."""

import random
from collections.abc import Callable, Collection
from typing import NamedTuple

from gateway.apple.client import Apple
from gateway.apple.quarantine import Quarantine
from gateway.cache.cache import Cache
from gateway.cache.entry import Freshness
from gateway.cache.memory import MemoryCache
from gateway.cache.write_log import WriteLog
from gateway.clock import Clock
from gateway.fetch.single_flight import Load, SingleFlight
from gateway.model import Id, UserKind
from gateway.ratings.partition_read import Sources
from gateway.ratings.read import Reader
from gateway.ratings.read_metrics import ReadMetrics
from gateway.ratings.refresh import Refresher
from gateway.ratings.write import Writer
from gateway.tasks import Tasks
from gateway.telemetry.metrics import Metrics

HOLD = 1.0


class Parts(NamedTuple):
    cache: Cache
    flights: SingleFlight
    reader: Reader
    writer: Writer


def assemble(
    load: Load,
    apple: Apple,
    *,
    freshness: Freshness,
    size: int,
    chance: random.Random,
    on_drop: Callable[[UserKind, Collection[Id] | None], None],
    quarantine: Quarantine,
    clock: Clock,
    tasks: Tasks,
    metrics: Metrics,
    flights_of: type[SingleFlight] = SingleFlight,
) -> Parts:
    """A gateway without Redis that fetches with `load` and writes through `apple`."""
    cache = Cache(
        memory=MemoryCache(
            max_entries=chance.choice((3, 1000)),
            max_bytes=1 << 20,
            fresh_seconds=freshness.fresh_seconds,
            on_evict=lambda _: None,
        ),
        write_log=WriteLog(hold_seconds=HOLD),
        shared=None,
        freshness=freshness,
        trusted_since=lambda _: float("-inf"),
        on_drop=on_drop,
        clock=clock,
        tasks=tasks,
    )
    flights = flights_of(
        load,
        cache.store,
        cache.top_up.failed,
        size=lambda: size,
        window_seconds=0.002,
        fetch_seconds=10.0,
        call_seconds=3.0,
        tasks=tasks,
        clock=clock,
        metrics=metrics,
    )
    refresher = Refresher(flights, tasks, metrics)
    reader = Reader(Sources(cache, flights, quarantine, refresher, None, ReadMetrics(metrics)), clock)
    return Parts(
        cache,
        flights,
        reader,
        Writer(cache=cache, apple=apple, tasks=tasks, clock=clock, call_timeout_seconds=3.0),
    )
