"""From what the gateway counts and knows to a snapshot: a pure function of its sources and the time."""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import Gauge

from gateway import __version__
from gateway.breaker import State
from gateway.clock import Clock
from gateway.ops.health import Checks
from gateway.ops.history import Counts, History, Interval, Reading, quantile, read, total
from gateway.ops.status.snapshot import (
    AccessView,
    BreakerView,
    LocalView,
    Point,
    Process,
    RedisView,
    SettingView,
    Snapshot,
    Tier,
    TokenView,
    Traffic,
    Upstream,
)
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.recent import RecentErrors

WINDOW_SECONDS = 300.0
"""As in the alerts and on the dashboard."""
STATES = {State.CLOSED: "closed", State.HALF_OPEN: "half-open", State.OPEN: "open"}
RESULTS = ("hit", "negative", "stale", "miss", "error")
SOUND = ("2", "3", "4")
"""First digits of the statuses of calls that did not fail; the others are 5xx and whatever is no answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """Settings that figures are shown against."""

    max_concurrency: int
    local_max_entries: int
    local_max_bytes: int
    local_trust_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """Where a snapshot comes from. Functions are called for each snapshot and must not block."""

    metrics: Metrics
    history: History
    recent: RecentErrors
    clock: Clock
    started_at: float
    """Of the process, by the clock's monotonic seconds."""
    addresses: Callable[[], tuple[str, str]]
    """URLs of the API and of the ops listener; known once they listen."""
    checks: Checks
    breakers: Callable[[], Sequence[BreakerView]]
    redis: Callable[[], RedisView | None]
    upstream_url: str
    not_applied: Callable[[], Sequence[str]]
    """Settings whose changed value needs a restart."""
    bounds: Bounds
    settings: Mapping[str, str]
    """Every setting in force as text, secrets masked; a reload changes it."""
    settings_from: Mapping[str, str]
    """Where each came from."""


NOT_SET = "-"
"""How a setting without a value is shown."""


def collect(sources: Sources, access: AccessView) -> Snapshot:
    """Take a snapshot; of settings and recent errors only where access is granted."""
    now = sources.clock.monotonic()
    lately = sources.history.lately(read(sources.metrics), now, WINDOW_SECONDS)
    return Snapshot(
        access=access,
        process=_process(sources, now),
        window_seconds=lately.seconds,
        traffic=_traffic(lately),
        tiers=tuple(_tier(name, lately.counted) for name in ("local", "shared")),
        cached_ratio=_cached_ratio(lately.counted),
        upstream=_upstream(sources, lately),
        breakers=tuple(sources.breakers()),
        redis=sources.redis(),
        token=_token(sources),
        local=_local(sources, lately.counted),
        course=tuple(_point(step, now) for step in sources.history.course()),
        recent_errors=sources.recent.latest() if access.granted else None,
        settings=_settings(sources) if access.granted else None,
    )


def breaker_view(target: str, state: State, since: float, now: float) -> BreakerView:
    """`since` and `now` in monotonic seconds."""
    return BreakerView(target=target, state=STATES[state], for_seconds=now - since)


def _process(sources: Sources, now: float) -> Process:
    at = sources.clock.time()
    api_url, ops_url = sources.addresses()
    return Process(
        version=__version__,
        python=platform.python_version(),
        at=at,
        started_at=at - (now - sources.started_at),
        uptime_seconds=now - sources.started_at,
        api_url=api_url,
        asks_caller_token=sources.settings["server.caller_tokens"] != NOT_SET,
        ops_url=ops_url,
        checks=tuple(sources.checks()),
        last_reload_successful=_gauge(sources.metrics.config_last_reload_successful) == 1,
        not_applied=tuple(sources.not_applied()),
    )


def _traffic(lately: Interval) -> Traffic:
    counted = lately.counted
    requests = total(counted.requests)
    return Traffic(
        requests=int(requests),
        rate=lately.rate(counted.requests),
        by_status=_by_label(counted.requests),
        failed_share=_share(total(counted.requests, "5"), requests),
        p50_seconds=quantile(counted.durations, 0.5),
        p99_seconds=quantile(counted.durations, 0.99),
        hits=int(counted.hit_durations.get(("+Inf",), 0)),
        hits_p99_seconds=quantile(counted.hit_durations, 0.99),
    )


def _tier(name: str, counted: Reading) -> Tier:
    found = {result: int(counted.ids.get((name, result), 0)) for result in RESULTS}
    asked = sum(found.values())
    return Tier(
        name=name,
        asked=asked,
        hits=found["hit"],
        negatives=found["negative"],
        stale=found["stale"],
        misses=found["miss"],
        errors=found["error"],
        hit_ratio=_share(found["hit"] + found["negative"], asked),
    )


def _upstream(sources: Sources, lately: Interval) -> Upstream:
    counted, metrics = lately.counted, sources.metrics
    calls = total(counted.calls)
    return Upstream(
        url=sources.upstream_url,
        calls=int(calls),
        rate=lately.rate(counted.calls),
        by_status=_by_label(counted.calls),
        failed_share=_share(calls - total(counted.calls, *SOUND), calls),
        p50_seconds=quantile(counted.call_durations, 0.5),
        p99_seconds=quantile(counted.call_durations, 0.99),
        retries=int(total(counted.retries)),
        quarantined=int(total(counted.quarantined)),
        in_flight=int(_gauge(metrics.upstream_in_flight)),
        limit=int(_gauge(metrics.upstream_concurrency_limit)),
        max_limit=sources.bounds.max_concurrency,
    )


def _token(sources: Sources) -> TokenView:
    expires_at = _gauge(sources.metrics.developer_token_expiry)
    return TokenView(
        key_id=sources.settings["apple.key_id"],
        expires_at=expires_at,
        expires_in_seconds=expires_at - sources.clock.time(),
    )


def _local(sources: Sources, counted: Reading) -> LocalView:
    return LocalView(
        entries=int(_gauge(sources.metrics.local_cache_entries)),
        max_entries=sources.bounds.local_max_entries,
        bytes=int(_gauge(sources.metrics.local_cache_bytes)),
        max_bytes=sources.bounds.local_max_bytes,
        evictions=int(total(counted.evictions)),
        trust_seconds=sources.bounds.local_trust_seconds,
    )


def _point(step: Interval, now: float) -> Point:
    counted = step.counted
    return Point(
        ago_seconds=now - step.end,
        requests=step.rate(counted.requests),
        failures=step.rate(counted.requests, "5"),
        calls=step.rate(counted.calls),
        local_ratio=_tier("local", counted).hit_ratio,
        cached_ratio=_cached_ratio(counted),
        p50_seconds=quantile(counted.durations, 0.5),
        p99_seconds=quantile(counted.durations, 0.99),
    )


def _settings(sources: Sources) -> tuple[SettingView, ...]:
    return tuple(
        SettingView(name=name, value=value, source=sources.settings_from[name])
        for name, value in sources.settings.items()
    )


def _cached_ratio(counted: Reading) -> float | None:
    """Redis is asked for what the local tier leaves; for every id where there is none."""
    local, shared = _tier("local", counted), _tier("shared", counted)
    return _share(local.hits + local.negatives + shared.hits + shared.negatives, local.asked or shared.asked)


def _by_label(counts: Counts) -> dict[str, int]:
    return {labels[0]: int(count) for labels, count in sorted(counts.items()) if count}


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _gauge(metric: Gauge) -> float:
    return next(iter(metric.collect())).samples[0].value
