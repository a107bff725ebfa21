"""Computes the counted parts of a snapshot from the increase of the counters. Pure."""

from collections.abc import Iterable

from gateway.ops.history import Counts, HistorySample, Interval, quantile, total
from gateway.ops.status.snapshot import Point, Tier, Traffic, VisibilityView
from gateway.telemetry.metrics import CACHE_RESULTS

WINDOW_SECONDS = 300.0
"""The same window as in the alerts and on the dashboard."""
SOONEST_CHECK = "0.1"
"""Label of the visibility checks during which a local entry may still be trusted without invalidations."""
SOUND = ("2", "3", "4")
"""First digits of statuses that are not failures; others are 5xx, or failures without a status."""


def traffic(lately: Interval) -> Traffic:
    """Requests on the API listener."""
    counted = lately.counted
    requests = total(counted.requests)
    return Traffic(
        requests=int(requests),
        rate=lately.rate(counted.requests),
        by_status=by_label(counted.requests),
        failed=by_label(counted.failed),
        failed_share=share(total(counted.failed), requests),
        p50_seconds=quantile(counted.durations, 0.5),
        p99_seconds=quantile(counted.durations, 0.99),
        hits=int(counted.hit_durations.get(("+Inf",), 0)),
        hits_p99_seconds=quantile(counted.hit_durations, 0.99),
        connections_refused=int(total(counted.connections_refused)),
    )


def tier(name: str, counted: HistorySample) -> Tier:
    """Lookups in one tier, `local` or `shared`."""
    found = {result: int(counted.ids.get((name, result), 0)) for result in CACHE_RESULTS}
    asked = sum(found.values())
    return Tier(
        name=name,
        asked=asked,
        hits=found["hit"],
        negatives=found["negative"],
        stale=found["stale"],
        misses=found["miss"],
        errors=found["error"],
        hit_ratio=share(found["hit"] + found["negative"], asked),
    )


def cached_ratio(counted: HistorySample) -> float | None:
    """Share of ids that were fresh in either tier. Redis is asked for what memory lacks, or for every id."""
    local, shared = tier("local", counted), tier("shared", counted)
    return share(local.hits + local.negatives + shared.hits + shared.negatives, local.asked or shared.asked)


def failed_share(calls: Counts) -> float | None:
    """Share of calls to Apple that were answered 5xx, or not at all."""
    return share(sum(count for labels, count in calls.items() if is_failure(labels[0])), total(calls))


def is_failure(status: str) -> bool:
    """Whether a call to Apple with this status, or word for why it has none, failed."""
    return not status.startswith(SOUND)


def visibility(since_start: HistorySample, counted: HistorySample) -> VisibilityView:
    """Visibility checks. Those 0.1 s after a write say little about the window, as in the alert."""
    stale = total(since_start.visibility, "stale")
    lately = sum(
        count
        for (result, after), count in counted.visibility.items()
        if result == "stale" and after != SOONEST_CHECK
    )
    return VisibilityView(
        checks=int(total(since_start.visibility, "agree") + stale),
        stale=int(stale),
        stale_lately=int(lately),
    )


def course(steps: Iterable[Interval], now: float) -> tuple[Point, ...]:
    """The last hour, a point per step, oldest first; `now` in monotonic seconds."""
    return tuple(_point(step, now) for step in steps)


def by_label(counts: Counts) -> dict[str, int]:
    """Counts by their first label, without zeros."""
    return {labels[0]: int(count) for labels, count in sorted(counts.items()) if count}


def share(part: float, whole: float) -> float | None:
    """`part` of `whole`; None of nothing."""
    return part / whole if whole else None


def _point(step: Interval, now: float) -> Point:
    counted = step.counted
    return Point(
        ago_seconds=now - step.end,
        requests=step.rate(counted.requests),
        failures=step.rate(counted.failed),
        calls=step.rate(counted.calls),
        local_ratio=tier("local", counted).hit_ratio,
        cached_ratio=cached_ratio(counted),
        p50_seconds=quantile(counted.durations, 0.5),
        p99_seconds=quantile(counted.durations, 0.99),
    )
