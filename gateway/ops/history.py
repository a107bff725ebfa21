"""Counters over the last hour: a bounded ring of readings, and the increase between two of them.

Pure except for `sample`: the time is an argument. Quantiles are estimated from histogram buckets.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import msgspec
from prometheus_client.registry import Collector

from gateway.clock import Clock
from gateway.telemetry.metrics import Metrics

EVERY_SECONDS = 15.0
"""Between two readings."""
KEPT_SECONDS = 3600.0
PER_POINT = 4
"""Readings that make one point of a chart: one a minute."""

GATEWAY = "gateway"
"""Cause of the requests that failed because of a fault in the gateway."""

Labels = tuple[str, ...]
Counts = Mapping[Labels, float]


class HistorySample(msgspec.Struct, frozen=True):
    """Counters at one moment, or their increase between two. Keys are label values, in the order named."""

    requests: Counts
    """By status."""
    failed: Counts
    """Requests that the availability objective counts as failed, by cause; `gateway` for its own faults."""
    ids: Counts
    """By tier and result."""
    calls: Counts
    """Calls to Apple by status."""
    durations: Counts
    """Requests by the upper bounds of their duration, cumulative (`le`)."""
    hit_durations: Counts
    call_durations: Counts
    redis_errors: Counts
    """By kind."""
    evictions: Counts
    quarantined: Counts
    retries: Counts
    visibility: Counts
    """Visibility checks by result and by the seconds after the write."""
    log_lines_dropped: Counts
    connections_refused: Counts

    def minus(self, earlier: "HistorySample") -> "HistorySample":
        """Increase since `earlier`."""
        return HistorySample(
            *(
                {labels: count - before.get(labels, 0.0) for labels, count in after.items()}
                for after, before in zip(_fields(self), _fields(earlier), strict=True)
            )
        )


def read(metrics: Metrics) -> HistorySample:
    """Read the counters now. Takes about a millisecond, because it walks every child."""
    metrics.flush()
    return HistorySample(
        requests=_sum(metrics.http_requests, "_total", ("status",)),
        failed={
            **_sum(metrics.requests_failed, "_total", ("cause",)),
            (GATEWAY,): total(_sum(metrics.internal_errors, "_total", ())),
        },
        ids=_sum(metrics.cache_ids, "_total", ("tier", "result")),
        calls=_sum(metrics.upstream_requests, "_total", ("status",)),
        durations=_sum(metrics.http_request_duration, "_bucket", ("le",)),
        hit_durations=_sum(metrics.http_request_duration, "_bucket", ("le",), cache="hit"),
        call_durations=_sum(metrics.upstream_request_duration, "_bucket", ("le",)),
        redis_errors=_sum(metrics.shared_cache_errors, "_total", ("kind",)),
        evictions=_sum(metrics.local_cache_evictions, "_total", ()),
        quarantined=_sum(metrics.quarantined_requests, "_total", ()),
        retries=_sum(metrics.upstream_retries, "_total", ("reason",)),
        visibility=_sum(metrics.write_visibility_checks, "_total", ("result", "after")),
        log_lines_dropped=_sum(metrics.log_lines_dropped, "_total", ()),
        connections_refused=_sum(metrics.connections_refused, "_total", ()),
    )


class Interval(NamedTuple):
    """Increase of the counters between two moments (monotonic seconds)."""

    start: float
    end: float
    counted: HistorySample

    @property
    def seconds(self) -> float:
        return self.end - self.start

    def rate(self, counts: Counts) -> float:
        """Rate per second of all children."""
        return total(counts) / self.seconds if self.seconds > 0 else 0.0


class History:
    """Readings of the last hour, oldest first."""

    def __init__(self) -> None:
        self._readings: deque[tuple[float, HistorySample]] = deque(
            maxlen=int(KEPT_SECONDS / EVERY_SECONDS) + 1
        )

    def take(self, reading: HistorySample, now: float) -> None:
        """Keep a reading made at `now` (monotonic seconds, later than the previous one)."""
        self._readings.append((now, reading))
        while self._readings[0][0] < now - KEPT_SECONDS:
            self._readings.popleft()

    def lately(self, reading: HistorySample, now: float, seconds: float) -> Interval:
        """The interval from `seconds` ago, or from the first reading, to a reading made `now`.

        What was counted before the first reading belongs to the interval that starts with it: a gateway
        counts from zero, and what goes wrong at its start must show.
        """
        older = [kept for kept in self._readings if kept[0] <= now - seconds]
        if older:
            start, earlier = older[-1]
            return Interval(start, now, reading.minus(earlier))
        start = self._readings[0][0] if self._readings else now
        return Interval(start, now, reading)

    def course(self) -> list[Interval]:
        """The last hour in steps of about a minute, oldest first; empty with fewer than two readings."""
        picked = list(self._readings)[::-PER_POINT][::-1]
        return [
            Interval(start, end, after.minus(before)) for (start, before), (end, after) in pairwise(picked)
        ]


async def sample(history: History, metrics: Metrics, clock: Clock) -> None:
    """Take a reading now and every 15 s, until cancelled."""
    while True:
        history.take(read(metrics), clock.monotonic())
        await asyncio.sleep(EVERY_SECONDS)


def total(counts: Counts, *wanted: str) -> float:
    """Sum of the children whose first label starts with one of `wanted`, or of all."""
    return sum(count for labels, count in counts.items() if not wanted or labels[0].startswith(wanted))


def quantile(buckets: Counts, share: float) -> float | None:
    """Estimate a quantile as Prometheus does, linearly within a bucket; None if nothing was counted.

    A quantile beyond the last finite bound is that bound: read it as "at least".
    """
    cumulative = sorted((float(le), count) for (le,), count in buckets.items())
    if not cumulative or cumulative[-1][1] <= 0:
        return None
    rank = share * cumulative[-1][1]
    lower = below = 0.0
    for bound, count in cumulative:
        if count >= rank:
            break
        lower, below = bound, count
    return lower if bound == float("inf") else lower + (bound - lower) * (rank - below) / (count - below)


def _sum(metric: Collector, suffix: str, names: Sequence[str], **where: str) -> Counts:
    """Sum the samples that have the labels `where`, grouped by the labels `names`."""
    counts: dict[Labels, float] = {}
    for family in metric.collect():
        for sample in family.samples:
            if sample.name.endswith(suffix) and where.items() <= sample.labels.items():
                labels = tuple(sample.labels[name] for name in names)
                counts[labels] = counts.get(labels, 0.0) + sample.value
    return counts


def _fields(reading: HistorySample) -> tuple[Counts, ...]:
    return msgspec.structs.astuple(reading)
