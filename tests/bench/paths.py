"""Request rate, CPU time and latency of each way to an answer of 25 ids, in interleaved rounds."""

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path as File

import msgspec
import uvloop

from tests.bench import contenders, wrk
from tests.bench.client import Ask, Timed, client, each, hammer, replay
from tests.bench.contenders import Contender
from tests.bench.machine import Machine
from tests.bench.population import IDS_PER_REQUEST, RATINGS_PER_USER, USERS, ids, lists, token
from tests.bench.results import Path
from tests.bench.stats import Spread, paired, percentile, rotated
from tests.bench.upstream import Upstream
from tests.bench.wrk import CALLERS, Load

BARE = "bare aiohttp handler"
LOCAL = "gateway, local tier"
REDIS = "gateway, Redis"
MISS = "gateway, asking Apple"
NGINX = "nginx proxy_cache"
VARNISH = "Varnish"
DIRECT = "straight to the stand-in"

PACED_RATE = 400
PACED_MISS_RATE = 100


class Road(msgspec.Struct, frozen=True):
    """A contender, and how it is asked so that its answers come this way."""

    name: str
    contender: Contender
    headers: Mapping[str, str] = {}
    asks_apple: bool = False
    cpu_counts: bool = True
    """Whether the CPU time of the process says anything: the stand-in's does not."""


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
    seconds: int,
    paced_seconds: float,
    tell: Callable[[str], None],
) -> list[Path]:
    """Run the rounds. Raises `RuntimeError` where an answer is not what it must be."""
    asks = lists(USERS * RATINGS_PER_USER // IDS_PER_REQUEST, IDS_PER_REQUEST)
    for user in range(USERS):
        upstream.add_user(token(user), albums=ids(user, RATINGS_PER_USER))
    roads = _roads(machine, upstream, asks[0])
    run = partial(_slot, machine.directory, upstream, asks, seconds)
    slots: dict[str, list[Slot]] = {road.name: [] for road in roads}
    by_name = {road.name: road for road in roads}
    for round_ in range(rounds):
        for name in rotated(list(by_name), round_):
            slot = run(by_name[name])
            slots[name].append(slot)
            tell(f"round {round_ + 1}: {name}: {slot.load.rate:,.0f}/s, {slot.cpu * 1e6:.0f} us CPU")
    paced = {road.name: _paced(upstream, road, asks, paced_seconds) for road in roads}
    return [_path(road, slots[road.name], slots[BARE], paced[road.name]) for road in roads]


def _roads(machine: Machine, upstream: Upstream, ask: Ask) -> list[Road]:
    local = contenders.gateway(machine, upstream, LOCAL, {})
    body = uvloop.run(_all(Road(LOCAL, local), [ask]))[0].body
    roads = [Road(BARE, contenders.bare(machine, body)), Road(LOCAL, local)]
    installed = contenders.missing()
    if "redis-server" not in installed:
        url, _ = contenders.redis(machine)
        settings = {"cache__redis_url": url, "cache__local_max_entries": 0}
        roads.append(Road(REDIS, contenders.gateway(machine, upstream, REDIS, settings)))
    roads.append(Road(MISS, local, {"Cache-Control": "no-cache"}, asks_apple=True))
    if "nginx" not in installed:
        roads.append(Road(NGINX, contenders.nginx(machine, upstream)))
    if "varnishd" not in installed:
        roads.append(Road(VARNISH, contenders.varnish(machine, upstream)))
    straight = contenders.direct(upstream)
    roads.append(Road(DIRECT, straight, straight.headers, asks_apple=True, cpu_counts=False))
    return roads


def _slot(directory: File, upstream: Upstream, asks: Sequence[Ask], seconds: int, road: Road) -> Slot:
    _prepare(upstream, road, asks)
    calls, cpu = upstream.calls(), road.contender.process.cpu_seconds()
    load = _load(directory, road, asks, seconds)
    cpu = road.contender.process.cpu_seconds() - cpu
    calls = upstream.calls() - calls
    if load.failed:
        raise RuntimeError(f"{road.name}: {load.failed} answers failed")
    return Slot(load, cpu / load.requests, calls)


def _prepare(upstream: Upstream, road: Road, asks: Sequence[Ask]) -> None:
    """Bring every answer into the cache, none older than a minute, and look at each."""
    upstream.be_prompt()
    upstream.settle()
    if not road.asks_apple:
        young = {"Cache-Control": "max-age=60"} if road.name in (LOCAL, REDIS) else {}
        uvloop.run(_all(msgspec.structs.replace(road, headers=young), asks))
    for answer in uvloop.run(_all(road, asks[:USERS])):
        rated = len(re.findall(rb'"value"', answer.body))
        if answer.status != 200 or rated != IDS_PER_REQUEST:
            raise RuntimeError(f"{road.name} answers {answer.status} with {rated} ratings: {answer.head!r}")
    if road.asks_apple:
        upstream.be_late()


async def _all(road: Road, asks: Sequence[Ask]) -> list[Timed]:
    async with client(road.contender.port, road.headers) as made:
        return await each(made, asks)


def _load(directory: File, road: Road, asks: Sequence[Ask], seconds: int) -> Load:
    if shutil.which("wrk") is None:
        return uvloop.run(_own_load(road, asks, seconds))
    file = directory / f"{road.name.replace(' ', '-')}.lua"
    file.write_text(wrk.script(asks, road.headers))
    return wrk.run(file, road.contender.port, seconds)


async def _own_load(road: Road, asks: Sequence[Ask], seconds: int) -> Load:
    """The load where wrk is not installed; slower than some of the servers."""
    async with client(road.contender.port, road.headers, CALLERS) as made:
        answers = await hammer(made, asks, seconds=seconds, callers=CALLERS)
    took = [answer.seconds for answer in answers]
    failed = sum(answer.status >= 400 for answer in answers)
    return Load(len(took), len(took) / seconds, percentile(took, 0.5), percentile(took, 0.99), failed)


def _paced(upstream: Upstream, road: Road, asks: Sequence[Ask], seconds: float) -> list[float]:
    """Latencies at a steady pace that troubles nobody."""
    _prepare(upstream, road, asks)
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
