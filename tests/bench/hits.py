"""Hits of 25 ids beside a bare aiohttp handler: rate and CPU time, in short interleaved rounds.

New lists are samples that no earlier request asked for; repeated lists are the same 256 over and over. A
first read is made by a gateway that was just started: its in-process cache is empty, its Redis is full.

Judged by the CPU time that the kernel accounts to the server, right after the same measurement of the bare
handler: on a core of its own the rate follows from it, and other processes on the machine hardly change it.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import cycle, islice
from random import Random

import msgspec
import uvloop

from tests.bench import contenders
from tests.bench.client import Ask, client, each, hammer
from tests.bench.contenders import HOUR, Checkout, Contender, Upstream
from tests.bench.population import (
    IDS_PER_REQUEST,
    RATINGS_PER_USER,
    USERS,
    ids,
    new_lists,
    partitioned_lists,
    repeated_lists,
    target,
    token,
)
from tests.bench.results import Bound, Figure
from tests.bench.stage import Samples, Stage
from tests.bench.stats import rotated

CALLERS = 32
REQUESTS = 4_096
FIRST_READ_USERS = range(1_000, 1_512)
WARM_UP_USERS = range(1_512, 1_640)
FRESH = {"cache__fresh_seconds": HOUR}

RATE = "hits per CPU second of the server, bare aiohttp handler = 1"
COST = "CPU time of the server, bare aiohttp handler = 1"
BARE = "bare aiohttp handler"
MEMORY_NEW = "memory hit, new lists"
MEMORY_REPEATED = "memory hit, repeated lists"
REDIS_NEW = "Redis hit, new lists, no in-process cache"
REDIS_REPEATED = "Redis hit, repeated lists, no in-process cache"
FIRST_READ = "first read from Redis, default settings"
NGINX = "nginx proxy_cache, repeated lists"
VARNISH = "Varnish, repeated lists"
STRAY = "upstream calls per hit"
RATE_BOUNDS = {
    MEMORY_NEW: Bound("at least", 0.75),
    REDIS_NEW: Bound("at least", 0.45),
    MEMORY_REPEATED: Bound("at least", 1.1),
    REDIS_REPEATED: Bound("at least", 0.5),
}
CPU_BOUNDS = {FIRST_READ: Bound("at most", 2.6)}
STRAY_BOUNDS = {STRAY: Bound("at most", 0.01)}


class Slot(msgspec.Struct, frozen=True):
    """What one contender made of one round: answers a second, and CPU seconds of the server an answer."""

    rate: float
    cpu: float


class Candidate(msgspec.Struct, frozen=True):
    """What is measured in each round, and of which version."""

    what: str
    version: str
    measure: Callable[[], Slot]


def measure(stage: Stage, parts: frozenset[str]) -> list[Figure]:
    """Measure what `parts` names: `memory`, `redis`, `first-read`, and nginx and Varnish (`others`)."""
    apple = contenders.upstream(stage.machine)
    versions = stage.checkouts
    endless = new_lists(Random(1))
    bare, candidates = _candidates(stage, apple, lambda: islice(endless, REQUESTS), parts)
    rates, costs = Samples(RATE, versions), Samples(COST, versions)
    absolute, strays = Samples("CPU µs a request", versions), Samples("hits", versions)
    for round_ in range(stage.rounds(5)):
        for candidate in rotated(candidates, round_):
            base = bare.measure()
            absolute.add(BARE, bare.version, base.cpu * 1e6)
            calls = apple.counts()["reads"]
            slot = candidate.measure()
            rates.add(candidate.what, candidate.version, base.cpu / slot.cpu)
            if candidate.what == FIRST_READ:
                costs.add(candidate.what, candidate.version, slot.cpu / base.cpu)
            absolute.add(candidate.what, candidate.version, slot.cpu * 1e6)
            strays.add(STRAY, candidate.version, (apple.counts()["reads"] - calls) / REQUESTS)
            stage.progress(
                f"round {round_ + 1}: {candidate.what}, {candidate.version}: {base.cpu / slot.cpu:.2f} "
                f"of bare, {slot.cpu * 1e6:.0f} µs CPU, {slot.rate:,.0f}/s"
            )
    return [
        *rates.figures(RATE_BOUNDS),
        *costs.figures(CPU_BOUNDS),
        *absolute.figures({}, decimals=0),
        *strays.figures(STRAY_BOUNDS),
    ]


def _candidates(
    stage: Stage, apple: Upstream, new: Callable[[], Iterable[Ask]], parts: frozenset[str]
) -> tuple[Candidate, list[Candidate]]:
    """The baseline and everything that takes turns with it, started and with warm caches."""
    found = []
    repeated = partial(islice, cycle(repeated_lists()), REQUESTS)
    this = stage.checkouts[0]
    source = contenders.gateway(stage.machine, this, apple, FRESH)
    body = uvloop.run(_first_body(source))
    for checkout in stage.checkouts:
        name = checkout.name
        if "memory" in parts:
            local = contenders.gateway(stage.machine, checkout, apple, FRESH)
            _fill(local, range(USERS))
            found.append(Candidate(MEMORY_NEW, name, partial(_loaded, local, new)))
            found.append(Candidate(MEMORY_REPEATED, name, partial(_loaded, local, repeated)))
        if parts & {"redis", "first-read"}:
            url = {**FRESH, "cache__redis_url": contenders.redis(stage.machine)}
            shared = contenders.gateway(
                stage.machine, checkout, apple, {**url, "cache__local_max_entries": 0}
            )
            _fill(shared, range(USERS))
            if "redis" in parts:
                found.append(Candidate(REDIS_NEW, name, partial(_loaded, shared, new)))
                found.append(Candidate(REDIS_REPEATED, name, partial(_loaded, shared, repeated)))
            if "first-read" in parts:
                _fill(shared, [*FIRST_READ_USERS, *WARM_UP_USERS])
                found.append(Candidate(FIRST_READ, name, partial(_first_read, stage, checkout, apple, url)))
    if "others" in parts:
        for what, start in ((NGINX, contenders.nginx), (VARNISH, contenders.varnish)):
            other = start(stage.machine, apple)
            uvloop.run(_hammer(other, repeated_lists()))
            found.append(Candidate(what, this.name, partial(_loaded, other, repeated)))
    baseline = Candidate(BARE, this.name, partial(_loaded, contenders.bare(stage.machine, body), new))
    return baseline, found


def _first_read(stage: Stage, checkout: Checkout, apple: Upstream, settings: dict[str, object]) -> Slot:
    """Let a new gateway read lists that only Redis holds, each once."""
    started = contenders.gateway(stage.machine, checkout, apple, settings)
    uvloop.run(_hammer(started, partitioned_lists(WARM_UP_USERS)))
    try:
        return _loaded(started, lambda: partitioned_lists(FIRST_READ_USERS))
    finally:
        started.process.stop()


def _loaded(contender: Contender, asks: Callable[[], Iterable[Ask]]) -> Slot:
    requests = list(asks())
    cpu = contender.process.cpu_seconds()
    rate = uvloop.run(_hammer(contender, requests))
    return Slot(rate, (contender.process.cpu_seconds() - cpu) / len(requests))


def _fill(contender: Contender, users: Sequence[int]) -> None:
    """Bring all ratings of these users into the cache."""
    asks = [Ask(target("albums", ids(user, RATINGS_PER_USER)), token(user)) for user in users]
    uvloop.run(_hammer(contender, asks, ratings=RATINGS_PER_USER))


async def _hammer(contender: Contender, asks: Iterable[Ask], ratings: int = IDS_PER_REQUEST) -> float:
    async with client(contender.port, contender.headers, CALLERS) as made:
        return await hammer(made, asks, callers=CALLERS, ratings=ratings)


async def _first_body(contender: Contender) -> bytes:
    async with client(contender.port, {}, 1) as made:
        (answer,) = await each(made, repeated_lists()[:1])
        return answer.body
