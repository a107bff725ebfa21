"""What the status page shows, as one frozen value. Times are seconds; rates are per second."""

from enum import StrEnum

import msgspec

from gateway.ops.health import Check
from gateway.telemetry.recent import RecentError


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """Who says this, and where it listens."""

    version: str
    python: str
    at: float
    """When the snapshot was taken, epoch seconds."""
    started_at: float
    uptime_seconds: float
    api_url: str
    asks_caller_token: bool
    """Whether callers must present one of `server.caller_tokens`."""
    ops_url: str
    checks: tuple[Check, ...]
    """What `/readyz` looks at."""
    last_reload_successful: bool
    not_applied: tuple[str, ...] = ()
    """Settings whose changed value needs a restart."""


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """Requests on the API listener in the window."""

    requests: int
    rate: float
    by_status: dict[str, int]
    failed_share: float | None
    """Of the requests, those that ended in a 5xx; None where there were none."""
    p50_seconds: float | None
    """Quantiles are estimates from histogram buckets; None where nothing was counted."""
    p99_seconds: float | None
    hits: int
    """Those for which nobody was asked."""
    hits_p99_seconds: float | None


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """What one tier said of the ids that it was asked for in the window."""

    name: str
    asked: int
    hits: int
    negatives: int
    """Fresh "unrated"."""
    stale: int
    misses: int
    errors: int
    hit_ratio: float | None
    """(hits + negatives) / asked."""


class Upstream(msgspec.Struct, frozen=True, kw_only=True):
    """Calls to Apple: in the window, and now."""

    url: str
    calls: int
    rate: float
    by_status: dict[str, int]
    failed_share: float | None
    """Of the calls, those answered 5xx and those without an answer."""
    p50_seconds: float | None
    p99_seconds: float | None
    retries: int
    quarantined: int
    """Requests refused because Apple had just refused their user token."""
    in_flight: int
    limit: int
    """How many calls may be under way at once now."""
    max_limit: int


class BreakerView(msgspec.Struct, frozen=True, kw_only=True):
    """One circuit breaker."""

    target: str
    state: str
    """closed, half-open or open."""
    for_seconds: float | None
    """How long it has been closed, or not, where that is known: probes in between do not count."""


class RedisView(msgspec.Struct, frozen=True, kw_only=True):
    """The shared tier and the news from the other gateways."""

    address: str
    """Without user and password."""
    answering: bool
    answering_for_seconds: float | None
    """How long it has, or has not, been answering, where that is known."""
    news: bool
    """Whether news from the other gateways is coming in."""
    news_for_seconds: float | None
    untold_writes: int
    """Users and types of whose writes Redis could not be told yet."""


class TokenView(msgspec.Struct, frozen=True, kw_only=True):
    """The developer token in use."""

    key_id: str
    expires_at: float
    """Epoch seconds."""
    expires_in_seconds: float


class LocalView(msgspec.Struct, frozen=True, kw_only=True):
    """The in-process tier."""

    entries: int
    max_entries: int
    bytes: int
    max_bytes: int
    evictions: int
    """Entries that left in the window to keep the bounds."""
    trust_seconds: float
    """How long entries are believed while no news comes in."""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """A minute or so of the last hour."""

    ago_seconds: float
    """Where the step ends."""
    requests: float
    failures: float
    calls: float
    local_ratio: float | None
    """Of the ids asked for, those that this process had fresh; None where there were none."""
    cached_ratio: float | None
    """Those that it or Redis had fresh."""
    p50_seconds: float | None
    p99_seconds: float | None


class SettingView(msgspec.Struct, frozen=True, kw_only=True):
    """One setting in force; secrets are masked."""

    name: str
    value: str
    source: str


class AccessView(msgspec.Struct, frozen=True, kw_only=True):
    """What the asker may see."""

    granted: bool
    """Whether settings and recent errors are shown."""
    token_set: bool
    """Whether `ops.token` is set, so that a form may present it."""
    refused: bool = False
    """Whether a form presented something else."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything on the page."""

    access: AccessView
    process: Process
    window_seconds: float
    """What "in the window" means: five minutes, or what there is since the start."""
    traffic: Traffic
    tiers: tuple[Tier, ...]
    cached_ratio: float | None
    """Of the ids asked for, those that either tier had fresh; stale ones may have been served too."""
    upstream: Upstream
    breakers: tuple[BreakerView, ...]
    redis: RedisView | None
    """None where the cache is this process alone."""
    token: TokenView
    local: LocalView
    course: tuple[Point, ...]
    """Oldest first."""
    recent_errors: tuple[RecentError, ...] | None
    """Newest first. Like `settings`, None where the asker may not see it."""
    settings: tuple[SettingView, ...] | None


class Severity(StrEnum):
    """How bad it is for callers; in this order."""

    FAILING = "failing"
    """Callers are being failed, or will be within minutes."""
    DEGRADED = "degraded"
    """The gateway copes, at a price."""
    NOTE = "note"


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong."""

    severity: Severity
    what: str
    """One sentence: what is wrong, since when, and what it costs."""
    advice: str
    """What to do about it, or what to look at."""
    runbook: str | None = None
    """The section of the runbook, as the alert of the same name."""
