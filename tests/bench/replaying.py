"""One trace, answered by all contenders: calls to Apple, latencies, and wrong answers.

The gateway answers it at the same time as the stand-in itself, so that what slows the machine slows both.
Other caches, another version and pairs of gateways answer it afterwards, because they would take time of the
gateway's core. Each contender has a stand-in of its own.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from random import Random

import msgspec
import uvloop

from tests.bench import contenders
from tests.bench.client import Timed, client, replay
from tests.bench.contenders import CALL_MS, ID_MS, Checkout, Contender, Upstream
from tests.bench.floor import least_calls
from tests.bench.results import Bound, Figure, Replayed, Trace
from tests.bench.stage import NOW, Stage
from tests.bench.stats import Spread, percentile
from tests.bench.trace import Shape, Step, listeners, steps
from tests.bench.truth import wrong_ratings

SEED = 20_260_101
PATIENCE = 0.050
"""What the floors let a miss wait for company: a little more than a call."""

RATED_PERCENT = 60
LAG = 0.1
"""What a write may take to reach another gateway (README: guarantees)."""

QUICK = Shape(seconds=64.0, users=25, sessions_per_second=2.5, fresh_seconds=4)
FULL = Shape(seconds=240.0, users=40, sessions_per_second=1.5, fresh_seconds=10)
BUSY_SECONDS = 0.1
"""A p99 of going straight beyond this shows that the machine was busy; a call takes 42.5 ms with 25 ids."""

DIRECT = "straight to the stand-in"
NGINX = "nginx proxy_cache"
RANDOM, BY_USER = "two gateways on one Redis, random", "two gateways on one Redis, by user"
BOUNDS = {
    "calls to Apple, ideal cache without top-up = 1": Bound("at most", 0.60),
    "p99, going straight = 1": Bound("at most", 1.25),
    "calls to Apple, nginx = 1": Bound("at most", 1 / 3),
    "wrong ratings": Bound("at most", 0),
}


class Runner(msgspec.Struct, frozen=True):
    """One contender: the processes that share its requests, how they are chosen, and its own upstream."""

    name: str
    upstream: Upstream
    processes: Sequence[Contender]
    choose: Callable[[Step], int] = lambda _: 0
    lag: float = 0.0


def measure(stage: Stage, parts: frozenset[str]) -> tuple[Trace, list[Figure]]:
    """Replay it against one gateway and other caches (`trace`), and against two on one Redis (`routing`)."""
    shape = FULL if stage.full else QUICK
    trace = steps(shape, listeners(shape.users, SEED), SEED)
    groups = _groups(stage, shape.fresh_seconds, parts)
    stage.progress(
        f"trace: {len(trace):,} requests in {shape.seconds:.0f} s to each of "
        f"{sum(map(len, groups))} contenders, in {len(groups)} groups"
    )
    answers = [answer for group in groups for answer in uvloop.run(_answers(group, trace))]
    replayed = [_replayed(runner, list(zip(trace, got, strict=True))) for runner, got in answers]
    replayed.sort(key=lambda one: one.name == DIRECT)
    for one in replayed:
        stage.progress(f"trace: {one.name}: {one.calls} calls, p99 {one.p99 * 1e3:.1f} ms, {one.wrong} wrong")
    floors = [
        least_calls(trace, fresh_seconds=shape.fresh_seconds, patience=PATIENCE, top_up=top_up)
        for top_up in (False, True)
    ]
    reads = [step for step in trace if step.value is None]
    made = Trace(
        seconds=shape.seconds,
        users=shape.users,
        reads=len(reads),
        writes=len(trace) - len(reads),
        ids=sum(len(step.ids) for step in reads),
        fresh_seconds=shape.fresh_seconds,
        floor=floors[0],
        top_up_floor=floors[1],
        replayed=replayed,
        busy=any(one.name == DIRECT and one.p99 > BUSY_SECONDS for one in replayed),
    )
    return made, _figures(made, [checkout.name for checkout in stage.checkouts])


def _groups(stage: Stage, fresh: int, parts: frozenset[str]) -> list[list[Runner]]:
    """The contenders that answer at the same time, group by group."""
    machine, missing = stage.machine, contenders.missing()
    late = partial(contenders.upstream, machine, call_ms=CALL_MS, id_ms=ID_MS, rated_percent=RATED_PERCENT)
    settings: dict[str, object] = {
        "cache__fresh_seconds": fresh,
        "cache__stale_while_revalidate_seconds": fresh,
        "cache__write_hold_seconds": fresh / 30,
    }
    apple = late()
    alone = [Runner(DIRECT, apple, [contenders.direct(apple)])]
    others: list[Runner] = []
    if "trace" in parts:
        for checkout in stage.checkouts:
            apple = late()
            (alone if checkout.name == NOW else others).append(
                Runner(checkout.name, apple, [contenders.gateway(machine, checkout, apple, settings)])
            )
        for program, start in (("nginx", contenders.nginx), ("varnishd", contenders.varnish)):
            if program not in missing:
                apple = late()
                other = start(machine, apple, fresh=fresh)
                others.append(Runner(other.name, apple, [other]))
    if "routing" in parts and "redis-server" not in missing:
        random = Random(SEED)
        others.append(
            _pair(stage.checkouts[0], RANDOM, stage, late(), settings, lambda _: random.randrange(2))
        )
        others.append(
            _pair(stage.checkouts[0], BY_USER, stage, late(), settings, lambda step: ord(step.user[0]) % 2)
        )
    return [group for group in (alone, others) if group]


def _pair(
    checkout: Checkout,
    name: str,
    stage: Stage,
    apple: Upstream,
    settings: dict[str, object],
    choose: Callable[[Step], int],
) -> Runner:
    """Two gateways on one Redis."""
    shared = {**settings, "cache__redis_url": contenders.redis(stage.machine)}
    both = [contenders.gateway(stage.machine, checkout, apple, shared) for _ in range(2)]
    return Runner(name, apple, both, choose, lag=LAG)


async def _answers(runners: Sequence[Runner], trace: Sequence[Step]) -> list[tuple[Runner, list[Timed]]]:
    answers = await asyncio.gather(*(_run(runner, trace) for runner in runners))
    return list(zip(runners, answers, strict=True))


async def _run(runner: Runner, trace: Sequence[Step]) -> list[Timed]:
    """Send each process its share of the trace; the answers are in the order of the trace."""
    chosen = [runner.choose(step) for step in trace]

    async def share(number: int) -> list[Timed]:
        process = runner.processes[number]
        mine = [step for step, choice in zip(trace, chosen, strict=True) if choice == number]
        async with client(process.port, process.headers, 64) as made:
            return await replay(made, ((step.moment, step.ask) for step in mine))

    shares = [iter(got) for got in await asyncio.gather(*map(share, range(len(runner.processes))))]
    return [next(shares[choice]) for choice in chosen]


def _replayed(runner: Runner, answered: Sequence[tuple[Step, Timed]]) -> Replayed:
    reads = [answer for step, answer in answered if step.value is None]
    took = [answer.seconds for answer in reads]
    counts = runner.upstream.counts()
    return Replayed(
        name=runner.name,
        calls=counts["reads"],
        ids_per_call=counts["ids"] / counts["reads"],
        p50=percentile(took, 0.50),
        p95=percentile(took, 0.95),
        p99=percentile(took, 0.99),
        wrong=wrong_ratings(answered, rated_percent=RATED_PERCENT, lag=runner.lag),
        failed=sum(answer.status not in {200, 204, 404} for _, answer in answered),
    )


def _figures(trace: Trace, versions: Sequence[str]) -> list[Figure]:
    now = trace.by(NOW)
    if now is None:
        return []
    before = trace.by(versions[-1]) if len(versions) > 1 else None
    straight, nginx = trace.by(DIRECT), trace.by(NGINX)
    ratios: dict[str, Callable[[Replayed], float]] = {
        "calls to Apple, ideal cache without top-up = 1": lambda one: one.calls / trace.floor,
        "calls to Apple, ideal cache with top-up = 1": lambda one: one.calls / trace.top_up_floor,
    }
    if straight is not None:
        for share in ("p50", "p95", "p99"):
            ratios[f"{share}, going straight = 1"] = partial(_ratio, straight, share)
    if nginx is not None:
        ratios["calls to Apple, nginx = 1"] = partial(_ratio, nginx, "calls")
    ratios["wrong ratings"] = lambda one: one.wrong + one.failed
    return [
        Figure(
            "trace",
            what,
            now=_exact(of(now)),
            before=_exact(of(before)) if before else None,
            bound=BOUNDS.get(what),
            busy=trace.busy and what.startswith("p"),
        )
        for what, of in ratios.items()
    ]


def _ratio(to: Replayed, field: str, one: Replayed) -> float:
    return float(getattr(one, field)) / float(getattr(to, field))


def _exact(value: float) -> Spread:
    return Spread(value, value, value)
