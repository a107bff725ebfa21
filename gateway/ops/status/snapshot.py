"""The status of a gateway as one frozen value. Times are seconds; rates are per second."""

from enum import StrEnum

import msgspec

from gateway.ops.health import Check
from gateway.telemetry.recent import RecentError


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """The process and its listeners."""

    version: str
    python: str
    at: float
    """When the snapshot was taken, epoch seconds."""
    started_at: float
    uptime_seconds: float
    api_url: str
    asks_caller_token: bool
    """Whether callers must send one of `server.caller_tokens`."""
    ops_url: str
    checks: tuple[Check, ...]
    """The checks of `/readyz`."""
    last_reload_successful: bool
    """False only after a reload that failed."""
    reload_fault: str | None
    """What was wrong at the last reload; None also to readers without access."""
    reloaded: bool
    """Whether the settings were read again since the start."""
    not_applied: tuple[str, ...] = ()
    """Settings whose changed value needs a restart."""
    log_lines_dropped: int
    """Lines in the window that stdout did not take."""


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """Requests on the API listener in the window."""

    requests: int
    rate: float
    by_status: dict[str, int]
    failed: dict[str, int]
    """Requests that the availability objective counts as failed, by cause."""
    failed_share: float | None
    """Share of requests that failed; None if there were no requests."""
    p50_seconds: float | None
    """Quantiles are estimated from histogram buckets; None if nothing was counted."""
    p99_seconds: float | None
    hits: int
    """Requests answered from the cache alone."""
    hits_p99_seconds: float | None
    connections_refused: int
    """Connections that were closed at once, because too many were open."""


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """Lookups in one tier in the window, by id."""

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


class UpstreamView(msgspec.Struct, frozen=True, kw_only=True):
    """Calls to Apple, in the window and now."""

    url: str
    calls: int
    rate: float
    by_status: dict[str, int]
    failed_share: float | None
    """Share of calls that were answered 5xx, or not at all."""
    p50_seconds: float | None
    p99_seconds: float | None
    retries: int
    quarantined: int
    """Requests not sent to Apple because it refused the user token, or failed for this user alone."""
    in_flight: int
    limit: int
    """How many calls may be in flight now."""
    max_limit: int
    batch_size: int
    """How many ids a call may ask for now."""
    max_batch_size: int


class BreakerView(msgspec.Struct, frozen=True, kw_only=True):
    """One circuit breaker."""

    target: str
    state: str
    """closed, half-open or open."""
    for_seconds: float | None
    """How long it has been closed, or not closed; probes in between do not count."""
    causes: dict[str, int] = {}
    """How often each failure came that opened it."""


class VisibilityView(msgspec.Struct, frozen=True, kw_only=True):
    """Checks that no gateway would serve an old rating after a write."""

    checks: int
    """Checks since the start that could have found an old rating: those with result `agree` or `stale`."""
    stale: int
    """Those since the start that found one."""
    stale_lately: int
    """Old ratings found in the window, a second or more after the write."""


class RedisView(msgspec.Struct, frozen=True, kw_only=True):
    """Redis and the invalidation subscription."""

    address: str
    """Without user and password."""
    answering: bool
    answering_for_seconds: float | None
    """How long it has been answering, or not answering."""
    subscribed: bool
    """Whether invalidations of the other gateways arrive."""
    subscribed_for_seconds: float | None
    undelivered_writes: int
    """Users and types with writes or purges that have not reached Redis, each pair counted once."""
    errors: dict[str, int]
    """Failed operations in the window, by kind."""
    reason: str | None
    """Why it is not used: the latest failure; None if it is, or to readers without access."""


class TokenView(msgspec.Struct, frozen=True, kw_only=True):
    """The developer token in use."""

    key_id: str
    expires_at: float
    """Epoch seconds."""
    expires_in_seconds: float
    refused: bool = False
    """Whether Apple refuses it."""
    apples_clock_ahead_seconds: float = 0.0


class LocalView(msgspec.Struct, frozen=True, kw_only=True):
    """The in-process tier."""

    entries: int
    max_entries: int
    bytes: int
    max_bytes: int
    evictions: int
    """Entries evicted in the window."""
    trust_seconds: float
    """How long entries are trusted without the invalidation subscription."""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """About a minute of the last hour."""

    ago_seconds: float
    """Where the step ends."""
    requests: float
    failures: float
    """Requests that the availability objective counts as failed."""
    calls: float
    local_ratio: float | None
    """Share of ids that were fresh in this process; None if no id was looked up."""
    cached_ratio: float | None
    """Share of ids that were fresh in either tier."""
    p50_seconds: float | None
    p99_seconds: float | None


class SettingView(msgspec.Struct, frozen=True, kw_only=True):
    """One setting in force; secrets are masked."""

    name: str
    value: str
    source: str


class AccessView(msgspec.Struct, frozen=True, kw_only=True):
    """What the requester may see."""

    granted: bool
    """Whether settings and recent errors are shown."""
    token_set: bool
    """Whether `ops.token` is set, so that a form may send it."""
    refused: bool = False
    """Whether a form sent another token."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything on the page."""

    access: AccessView
    process: Process
    window_seconds: float
    """The window: five minutes, or the time since the start."""
    traffic: Traffic
    tiers: tuple[Tier, ...]
    cached_ratio: float | None
    """Share of ids that were fresh in either tier; stale ones may have been served, too."""
    upstream: UpstreamView
    breakers: tuple[BreakerView, ...]
    redis: RedisView | None
    """None if the cache is in-process only."""
    token: TokenView
    local: LocalView
    visibility: VisibilityView
    course: tuple[Point, ...]
    """Oldest first."""
    recent_errors: tuple[RecentError, ...] | None
    """Newest first. Like `settings`, None if the requester may not see it."""
    settings: tuple[SettingView, ...] | None


class Severity(StrEnum):
    """Impact on callers, the worst first."""

    FAILING = "failing"
    """Requests fail, or will within minutes."""
    DEGRADED = "degraded"
    """Requests succeed, at a price."""
    NOTE = "note"


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong."""

    severity: Severity
    what: str
    """What is wrong, since when, why, and what it costs."""
    advice: str
    """What to do."""
    runbook: str | None = None
    """The alert of the same meaning, and section of the runbook."""
