"""What a run measured. Times in seconds, memory in bytes, rates in requests a second."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from tests.bench.stats import Spread


class Bound(msgspec.Struct, frozen=True):
    side: Literal["at least", "at most"]
    limit: float


class Figure(msgspec.Struct, frozen=True):
    """One measured number: of this version, and of the version that it is compared with."""

    part: str
    what: str
    now: Spread
    before: Spread | None = None
    bound: Bound | None = None
    decimals: int = 2
    busy: bool = False
    """Other processes kept the machine busy, so that waiting times say nothing about the gateway."""

    @property
    def broken(self) -> bool:
        if self.bound is None or self.busy:
            return False
        value = self.now.median
        return value < self.bound.limit if self.bound.side == "at least" else value > self.bound.limit


class Replayed(msgspec.Struct, frozen=True):
    """How one contender answered the trace."""

    name: str
    calls: int
    ids_per_call: float
    p50: float
    p95: float
    p99: float
    wrong: int
    """Ratings that contradict a write that had been answered before the read began."""
    failed: int


class Trace(msgspec.Struct, frozen=True):
    """One trace, answered by all contenders."""

    seconds: float
    users: int
    reads: int
    writes: int
    ids: int
    fresh_seconds: int
    floor: int
    """Read calls of an ideal cache that fetches only what was asked."""
    top_up_floor: int
    """Read calls of an ideal cache that fills the free seats of its calls."""
    replayed: Sequence[Replayed]

    busy: bool = False
    """Whether direct calls took so long that the latencies are meaningless."""

    def by(self, name: str) -> Replayed | None:
        return next((one for one in self.replayed if one.name == name), None)


class Results(msgspec.Struct, frozen=True):
    measured: str
    """Date, machine and versions."""
    against: str | None
    missing: Sequence[str]
    figures: Sequence[Figure]
    trace: Trace | None = None
