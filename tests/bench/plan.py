"""What a run does: each measurement on processes of its own, none of which outlives it."""

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from tests.bench import contenders, machine, memory, paths, profiling, replaying, sizes, startup
from tests.bench.machine import Machine
from tests.bench.results import Results
from tests.bench.trace import Shape
from tests.bench.upstream import Upstream


class Plan(msgspec.Struct, frozen=True):
    """How much is measured. Times in seconds."""

    mode: str
    rounds: int
    round_seconds: float
    paced_seconds: float
    shape: Shape
    size_repeats: int
    beside_seconds: float
    shared_ratings: int
    local_entries: int
    starts: int


QUICK = Plan(
    mode="quick",
    rounds=3,
    round_seconds=1.0,
    paced_seconds=0.8,
    shape=Shape(seconds=5.0, users=50, sessions_per_second=6.0, fresh_seconds=5),
    size_repeats=3,
    beside_seconds=3.0,
    shared_ratings=20_000,
    local_entries=60_000,
    starts=3,
)
FULL = Plan(
    mode="full",
    rounds=5,
    round_seconds=2.0,
    paced_seconds=5.0,
    shape=Shape(seconds=45.0, users=200, sessions_per_second=4.0, fresh_seconds=15),
    size_repeats=15,
    beside_seconds=10.0,
    shared_ratings=40_000,
    local_entries=200_000,
    starts=7,
)
PARTS = ("startup", "paths", "trace", "sizes", "memory")


def run(plan: Plan, parts: frozenset[str], tell: Callable[[str], None]) -> Results:
    """Measure; `tell` gets a line for each step. Raises `RuntimeError` where an answer is wrong."""
    measured: dict[str, Any] = {}
    with TemporaryDirectory(prefix="ratings-bench-") as name:
        for part, measure in zip(PARTS, _measures(plan, tell), strict=True):
            if part in parts:
                with _stage(Path(name)) as (children, upstream):
                    measured[part] = measure(children, upstream)
    return Results(
        mode=plan.mode,
        machine=machine.description(),
        versions=_versions(),
        missing=contenders.missing(),
        **measured,
    )


def _measures(plan: Plan, tell: Callable[[str], None]) -> Sequence[Callable[[Machine, Upstream], Any]]:
    """What measures each of `PARTS`."""
    return (
        partial(startup.measure, times=plan.starts, tell=tell),
        partial(
            paths.measure,
            rounds=plan.rounds,
            seconds=plan.round_seconds,
            paced_seconds=plan.paced_seconds,
            tell=tell,
        ),
        partial(replaying.measure, shape=plan.shape, tell=tell),
        partial(sizes.measure, repeats=plan.size_repeats, seconds=plan.beside_seconds, tell=tell),
        partial(memory.measure, ratings=plan.shared_ratings, entries=plan.local_entries, tell=tell),
    )


def run_profile(seconds: int, tell: Callable[[str], None]) -> str:
    """Profile the gateway's paths; the text says where their time goes."""
    with TemporaryDirectory(prefix="ratings-bench-") as name, _stage(Path(name)) as (children, upstream):
        return profiling.render(profiling.profile(children, upstream, seconds=seconds, tell=tell))


@contextmanager
def _stage(directory: Path) -> Iterator[tuple[Machine, Upstream]]:
    with Machine(directory) as children:
        yield children, Upstream.start(children)


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("aiohttp", "uvloop", "redis", "hiredis")}
    return {"Python": platform.python_version(), **packages}
