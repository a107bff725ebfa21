"""The bounds that `make bench` holds, in one table. Pure."""

from collections.abc import Callable
from typing import Literal

import msgspec

from tests.bench.replaying import GATEWAY
from tests.bench.results import Results
from tests.bench.roads import LOCAL, NGINX, REDIS


class Bound(msgspec.Struct, frozen=True):
    """What is measured, and the least or the most that it may be."""

    what: str
    side: Literal["at least", "at most"]
    limit: float
    measured: Callable[[Results], float | None]
    """None where it was not measured: a contender was missing."""


class Verdict(msgspec.Struct, frozen=True):
    what: str
    side: str
    limit: float
    value: float | None

    @property
    def holds(self) -> bool:
        """What was not measured is not broken; the report names what was missing."""
        if self.value is None:
            return True
        return self.value >= self.limit if self.side == "at least" else self.value <= self.limit


def verdicts(results: Results) -> list[Verdict]:
    """Judge a run."""
    return [Verdict(bound.what, bound.side, bound.limit, bound.measured(results)) for bound in BOUNDS]


def _rate_ratio(name: str) -> Callable[[Results], float | None]:
    def measured(results: Results) -> float | None:
        path = results.path(name)
        return None if path is None else path.rate_ratio.median

    return measured


def _stray_share(results: Results) -> float | None:
    hits = [path for path in results.paths if not path.asks_apple]
    return max((path.upstream_calls / path.requests for path in hits), default=None)


def _calls_to_nginx(results: Results) -> float | None:
    if results.trace is None:
        return None
    ours, nginx = results.trace.by(GATEWAY), results.trace.by(NGINX)
    return None if ours is None or nginx is None else ours.calls / nginx.calls


def _calls_to_floor(results: Results) -> float | None:
    if results.trace is None:
        return None
    ours = results.trace.by(GATEWAY)
    return None if ours is None else ours.calls / results.trace.least_calls


def _median_to_nginx(results: Results) -> float | None:
    if results.trace is None:
        return None
    ours, nginx = results.trace.by(GATEWAY), results.trace.by(NGINX)
    return None if ours is None or nginx is None else ours.p50 / nginx.p50


def _growth(results: Results) -> float | None:
    return None if results.sizes is None else results.sizes.growth


def _beside_p99_ms(results: Results) -> float | None:
    return None if results.sizes is None else max(one.p99 for one in results.sizes.beside) * 1e3


def _shared_bytes(ratings_per_user: int) -> Callable[[Results], float | None]:
    def measured(results: Results) -> float | None:
        found = [] if results.memory is None else results.memory.shared
        return next((one.per_rating for one in found if one.ratings_per_user == ratings_per_user), None)

    return measured


def _local_megabytes(results: Results) -> float | None:
    return None if results.memory is None else results.memory.local.per_entry * 200_000 / 1e6


def _startup(results: Results) -> float | None:
    return None if results.startup is None else results.startup.seconds.median


def _idle_megabytes(results: Results) -> float | None:
    return None if results.startup is None else results.startup.rss.median / 1e6


BOUNDS = (
    Bound("rate of a local-tier hit, of the bare handler's", "at least", 0.70, _rate_ratio(LOCAL)),
    Bound("rate of a Redis hit, of the bare handler's", "at least", 0.45, _rate_ratio(REDIS)),
    # On a busy machine a lookup in Redis may take longer than its 50 ms.
    Bound("upstream calls a request where all should be hits", "at most", 0.01, _stray_share),
    Bound("upstream calls on the trace, of nginx's", "at most", 1 / 3, _calls_to_nginx),
    Bound("upstream calls on the trace, of the floor", "at most", 1.5, _calls_to_floor),
    Bound("median answer on the trace, of nginx's", "at most", 1.0, _median_to_nginx),
    Bound("time per id, 10,000 ids to 1,000", "at most", 1.5, _growth),
    Bound("p99 of 25 ids beside 10,000, ms", "at most", 50.0, _beside_p99_ms),
    Bound("bytes a rating in Redis, 100 a user", "at most", 25.0, _shared_bytes(100)),
    Bound("bytes a rating in Redis, 2,000 a user", "at most", 80.0, _shared_bytes(2_000)),
    Bound("200,000 local entries, MB", "at most", 100.0, _local_megabytes),
    Bound("start until /startupz answers, s", "at most", 1.5, _startup),
    Bound("resident memory of an idle gateway, MB", "at most", 90.0, _idle_megabytes),
)
