"""A run as it might have been, for everything that judges and draws runs."""

import msgspec
import pytest

from tests.bench import roads
from tests.bench.replaying import GATEWAY
from tests.bench.results import (
    SHARES,
    Beside,
    LocalBytes,
    Memory,
    Path,
    Replayed,
    Results,
    SharedBytes,
    Size,
    Sizes,
    Startup,
    Trace,
)
from tests.bench.stats import Spread


def spread(median: float) -> Spread:
    return Spread(median, median * 0.9, median * 1.1)


def path(name: str, rate: float, ratio: float, **other: object) -> Path:
    made = Path(
        name=name,
        rate=spread(rate),
        rate_ratio=spread(ratio),
        p50=spread(0.002),
        p99=spread(0.004),
        cpu=spread(1 / rate),
        cpu_ratio=spread(ratio),
        paced_p50=0.0004,
        paced_p99=0.0009,
        asks_apple=False,
        upstream_calls=0,
        requests=10_000,
    )
    return msgspec.structs.replace(made, **other)


def replayed(name: str, calls: int, p50: float) -> Replayed:
    latencies = [p50 * (0.5 + share) for share in SHARES]
    return Replayed(name, calls, p50, p50 * 3, latencies, {"200": 900, "404": 100}, 12_345)


@pytest.fixture
def results() -> Results:
    """Every bound holds."""
    return Results(
        mode="full",
        machine="2 cores of a machine",
        versions={"Python": "3.11.0", "aiohttp": "3.14.0"},
        missing=[],
        paths=[
            path(roads.BARE, 10_000, 1.0),
            path(roads.LOCAL, 9_000, 0.9),
            path(roads.REDIS, 5_000, 0.5),
            path(roads.NGINX, 40_000, 4.0),
            path(roads.DIRECT, 700, 0.07, cpu=None, cpu_ratio=None, asks_apple=True, upstream_calls=10_000),
        ],
        trace=Trace(
            seconds=60.0,
            users=250,
            requests=9_000,
            ids=150_000,
            fresh_seconds=15,
            least_calls=1_000,
            patience=0.042,
            replayed=[replayed(GATEWAY, 1_100, 0.001), replayed(roads.NGINX, 5_500, 0.041)],
        ),
        sizes=Sizes(
            sizes=[Size(25, 0.0005, 0.043), Size(1_000, 0.002, 0.06), Size(10_000, 0.022, 0.4)],
            alone=Beside("nobody", 0.0005, 0.001, 0),
            beside=[Beside("10,000 ids", 0.0008, 0.03, 40)],
        ),
        memory=Memory(
            shared=[SharedBytes(100, 400, 19.5), SharedBytes(2_000, 20, 66.0)],
            local=LocalBytes(200_000, 60_000_000, 140_000_000),
            parts={"the entry itself": 56},
        ),
        startup=Startup(
            spread(0.7), spread(0.65), spread(58e6), [("aiohttp", 0.2), ("the standard library", 0.1)]
        ),
    )
