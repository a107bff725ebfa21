"""What a run measured. Times in seconds, memory in bytes, rates in requests a second."""

import msgspec

from tests.bench.stats import Spread


class Path(msgspec.Struct, frozen=True):
    """One way to an answer of 25 ids, under full load by 32 callers, and at a steady pace."""

    name: str
    rate: Spread
    rate_ratio: Spread
    """To the bare handler of the same round."""
    p50: Spread
    p99: Spread
    cpu: Spread | None
    """CPU seconds of the server a request; None where the server is not what is compared."""
    cpu_ratio: Spread | None
    """The bare handler's CPU time to this one's."""
    paced_p50: float
    paced_p99: float
    asks_apple: bool
    """Whether its answers are meant to come from upstream."""
    upstream_calls: int
    """Calls to the stand-in while all rounds ran."""
    requests: int


class Replayed(msgspec.Struct, frozen=True):
    """A trace as one contender answered it."""

    name: str
    calls: int
    p50: float
    p99: float
    latencies: list[float]
    """At the shares `SHARES`, for the picture."""
    statuses: dict[str, int]
    ratings: int
    """Resources in all answers together: every contender must have given the same."""


SHARES = [*(n / 50 for n in range(1, 50)), 0.99, 0.995, 0.999, 1.0]


class Trace(msgspec.Struct, frozen=True):
    """One trace, answered by each contender in turn."""

    seconds: float
    users: int
    requests: int
    ids: int
    fresh_seconds: int
    least_calls: int
    patience: float
    replayed: list[Replayed]

    def by(self, name: str) -> Replayed | None:
        return next((one for one in self.replayed if one.name == name), None)


class Size(msgspec.Struct, frozen=True):
    """Requests of `ids` ids: median time of a hit, and of asking Apple for all of them."""

    ids: int
    hit: float
    miss: float


class Beside(msgspec.Struct, frozen=True):
    """25-id hits while somebody else asks for 10,000 ids over and over."""

    what: str
    p50: float
    p99: float
    large_requests: int


class Sizes(msgspec.Struct, frozen=True):
    sizes: list[Size]
    alone: Beside
    beside: list[Beside]

    @property
    def growth(self) -> float:
        """Time per id at 10,000 to that at 1,000 ids; the worse of hit and miss."""
        at = {size.ids: size for size in self.sizes}
        small, large = at[1_000], at[10_000]
        return max(large.hit / small.hit, large.miss / small.miss) / 10


class SharedBytes(msgspec.Struct, frozen=True):
    """Growth of Redis' `used_memory` a rating."""

    ratings_per_user: int
    users: int
    per_rating: float


class LocalBytes(msgspec.Struct, frozen=True):
    """Growth of a gateway's resident memory by entries of the local tier."""

    entries: int
    idle: int
    filled: int

    @property
    def per_entry(self) -> float:
        return (self.filled - self.idle) / self.entries


class Memory(msgspec.Struct, frozen=True):
    shared: list[SharedBytes]
    local: LocalBytes
    parts: dict[str, int]
    """What an entry is made of, by `sys.getsizeof`."""


class Startup(msgspec.Struct, frozen=True):
    """`serve` from its start until `/startupz` answers, and idle a moment later."""

    seconds: Spread
    cpu: Spread
    rss: Spread
    imports: list[tuple[str, float]]
    """Top packages by the time that their imports took, slowest first."""


class Results(msgspec.Struct, frozen=True):
    mode: str
    machine: str
    versions: dict[str, str]
    missing: list[str]
    paths: list[Path] = []
    trace: Trace | None = None
    sizes: Sizes | None = None
    memory: Memory | None = None
    startup: Startup | None = None

    def path(self, name: str) -> Path | None:
        return next((path for path in self.paths if path.name == name), None)
