"""Request rate, CPU time and latency of each way to an answer of 25 ids, in interleaved rounds."""

import time
from collections.abc import Callable, Sequence

import msgspec
import uvloop

from tests.bench.client import Load, Timed, client, replay
from tests.bench.machine import Machine
from tests.bench.results import Path
from tests.bench.roads import BARE, CALLERS, Road, Roads
from tests.bench.stats import Spread, paired, percentile, rotated
from tests.bench.upstream import Upstream

PACED_RATE = 400
PACED_MISS_RATE = 100
SETTLE_SECONDS = 0.3


class Slot(msgspec.Struct, frozen=True):
    """One road in one round."""

    load: Load
    cpu: float
    calls: int


def measure(
    machine: Machine,
    upstream: Upstream,
    *,
    rounds: int,
    seconds: float,
    paced_seconds: float,
    tell: Callable[[str], None],
) -> list[Path]:
    """Run the rounds. Raises `RuntimeError` where an answer is not what it must be."""
    built = Roads.build(machine, upstream)
    by_name = {road.name: road for road in built.roads}
    slots: dict[str, list[Slot]] = {name: [] for name in by_name}
    for round_ in range(rounds):
        for name in rotated(list(by_name), round_):
            slot = _slot(built, by_name[name], seconds)
            slots[name].append(slot)
            tell(f"round {round_ + 1}: {name}: {slot.load.rate:,.0f}/s, {slot.cpu * 1e6:.0f} us CPU")
    paced = {road.name: _paced(built, road, paced_seconds) for road in built.roads}
    return [_path(road, slots[road.name], slots[BARE], paced[road.name]) for road in built.roads]


def _slot(built: Roads, road: Road, seconds: float) -> Slot:
    built.prepare(road)
    calls, cpu = built.upstream.calls(), road.contender.process.cpu_seconds()
    load = built.load(road, seconds)
    cpu = road.contender.process.cpu_seconds() - cpu
    calls = built.upstream.calls() - calls
    if load.failed:
        raise RuntimeError(f"{road.name}: {load.failed} answers failed")
    return Slot(load, cpu / load.requests, calls)


def _paced(built: Roads, road: Road, seconds: float) -> list[float]:
    """Latencies at a steady pace that troubles nobody."""
    built.prepare(road)
    time.sleep(SETTLE_SECONDS)
    asks = built.asks
    rate = PACED_MISS_RATE if road.asks_apple else PACED_RATE

    async def run() -> list[Timed]:
        async with client(road.contender.port, road.headers, CALLERS) as made:
            return await replay(made, ((n / rate, asks[n % len(asks)]) for n in range(int(rate * seconds))))

    return [answer.seconds for answer in uvloop.run(run())]


def _path(road: Road, slots: Sequence[Slot], bare: Sequence[Slot], paced: Sequence[float]) -> Path:
    rates = [slot.load.rate for slot in slots]
    cpus = [slot.cpu for slot in slots]
    return Path(
        name=road.name,
        rate=Spread.of(rates),
        rate_ratio=paired(rates, [slot.load.rate for slot in bare]),
        p50=Spread.of(slot.load.p50 for slot in slots),
        p99=Spread.of(slot.load.p99 for slot in slots),
        cpu=Spread.of(cpus) if road.cpu_counts else None,
        cpu_ratio=paired([slot.cpu for slot in bare], cpus) if road.cpu_counts else None,
        paced_p50=percentile(paced, 0.5),
        paced_p99=percentile(paced, 0.99),
        asks_apple=road.asks_apple,
        upstream_calls=sum(slot.calls for slot in slots),
        requests=sum(slot.load.requests for slot in slots),
    )
