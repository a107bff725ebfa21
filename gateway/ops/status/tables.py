"""Lists and tables of the status page. Pure."""

import time
from collections.abc import Mapping, Sequence

from gateway.ops.curl import CurlTarget
from gateway.ops.formatting import (
    NOTHING,
    about,
    duration,
    latency,
    percent,
    rate,
    size,
    stale_bound,
    users_of,
)
from gateway.ops.markup import Child, Html, el, join, table
from gateway.ops.page import facts, labelled, secret
from gateway.ops.status.snapshot import Process, Snapshot, Tier, UpstreamView
from gateway.telemetry.recent import MAX_KEPT, RecentError

WRITES = frozenset({"PUT", "DELETE"})
REFUSALS = ("401", "403", "429")
"""Answers of Apple that refuse a call; they are not failures of Apple's."""
ERROR_COLUMNS = (
    "Time (UTC)", "Count", "Cause", "Status", "Code", "Request", "Detail", "Last request id", "Try again",
)  # fmt: skip


def apple(snapshot: Snapshot) -> Html:
    """Calls to Apple, their limit and their circuit breaker."""
    upstream = snapshot.upstream
    return facts(
        ("Address", el("code", upstream.url)),
        ("Circuit breaker", _breaker(snapshot, "apple")),
        ("Calls in flight", f"{upstream.in_flight}; limit {upstream.limit}, maximum {upstream.max_limit}"),
        ("Most ids per call", f"{upstream.batch_size}, maximum {upstream.max_batch_size}"),
        ("Calls", _calls(upstream)),
        ("Statuses", statuses(upstream.by_status)),
        ("Duration", f"median {latency(upstream.p50_seconds)}, 99 % within {latency(upstream.p99_seconds)}"),
        ("Repeated calls", f"{upstream.retries:,}"),
        ("Quarantined requests", f"{upstream.quarantined:,}"),
    )


def _calls(upstream: UpstreamView) -> str:
    if not upstream.calls:
        return rate(upstream.rate)
    refused = sum(upstream.by_status.get(status, 0) for status in REFUSALS) / upstream.calls
    return (
        f"{rate(upstream.rate)}: {percent(upstream.failed_share)} failed (5xx or no answer), "
        f"{percent(refused)} refused ({', '.join(REFUSALS[:-1])} or {REFUSALS[-1]})"
    )


def token(snapshot: Snapshot) -> Html:
    """The developer token in use."""
    view = snapshot.token
    left = view.expires_in_seconds
    ends = f"in {duration(left)}" if left > 0 else f"expired {duration(-left)} ago"
    return facts(
        ("Key id", el("code", view.key_id)),
        ("Expires", f"{ends} ({_moment(view.expires_at)})"),
        ("Last reload", _last_reload(snapshot.process)),
    )


def _last_reload(process: Process) -> str:
    if not process.last_reload_successful:
        return "failed"
    return "succeeded" if process.reloaded else "none yet"


def cache(snapshot: Snapshot) -> Html:
    """Lookups by tier, and the fill of the in-process cache."""
    local = snapshot.local
    head = ("Tier", "Ids looked up", "Hit ratio", "Rated", "Unrated", "Stale", "Misses", "Errors")
    return join(
        table(
            head,
            [_tier(tier) for tier in snapshot.tiers if tier.name == "local" or snapshot.redis is not None],
            caption=f"Lookups by tier in the last {about(snapshot.window_seconds)}",
            class_="numbers",
        ),
        facts(
            (
                "Entries in this process",
                _fill(local.entries, local.max_entries, f"{local.entries:,}", "Entries"),
            ),
            ("Memory for them", _fill(local.bytes, local.max_bytes, size(local.bytes), "Memory")),
            ("Evicted", f"{local.evictions:,}"),
            ("Old ratings after writes", stale_bound(snapshot.visibility.stale, snapshot.visibility.checks)),
        ),
    )


def redis(snapshot: Snapshot) -> Html:
    """Redis, its circuit breaker, and the invalidation subscription."""
    view = snapshot.redis
    if view is None:
        return el("p", "No Redis is set: the cache is in-process only.")
    return facts(
        ("Address", el("code", view.address)),
        (
            "Connection",
            _state(view.answering_for_seconds, "answering" if view.answering else "no answer"),
        ),
        ("Circuit breaker", _breaker(snapshot, "redis")),
        ("Failed operations", statuses(view.errors, "none")),
        (
            "Invalidation subscription",
            _state(view.subscribed_for_seconds, "up" if view.subscribed else "down"),
        ),
        ("Waiting for Redis", _undelivered(view.undelivered_writes)),
    )


def recent_errors(snapshot: Snapshot) -> Html:
    """The latest failures, equal ones in one row, with a command that reads the same ids again."""
    if snapshot.recent_errors is None:
        return _left_out(snapshot, "Recent errors")
    if not snapshot.recent_errors:
        return el("p", "None since the start.")
    kept = f"The latest {MAX_KEPT} failures and {MAX_KEPT} refused requests; equal ones are in one row."
    return join(
        el("p", kept, class_="aside"),
        table(
            ERROR_COLUMNS,
            [_error(group, snapshot.process) for group in _grouped(snapshot.recent_errors)],
            caption="Recent errors, newest first",
            class_="errors",
        ),
    )


def settings(snapshot: Snapshot) -> Html:
    """Every setting in force and its source."""
    if snapshot.settings is None:
        return _left_out(snapshot, "Settings")
    changed = sum(setting.source != "default" for setting in snapshot.settings)
    return join(
        el(
            "p",
            f"{changed} of {len(snapshot.settings)} are set, the others at their defaults.",
            class_="aside",
        ),
        table(
            ("Setting", "Value", "From"),
            [
                (
                    el("code", setting.name, class_="" if setting.source == "default" else "set"),
                    el("code", setting.value),
                    setting.source,
                )
                for setting in snapshot.settings
            ],
            caption="Settings in force",
        ),
    )


def statuses(by_status: Mapping[str, int], nothing: str = "none yet") -> str:
    """Statuses, or kinds, and their counts."""
    return " · ".join(f"{status}: {count:,}" for status, count in by_status.items()) or nothing


def _undelivered(users_and_types: int) -> str:
    return f"writes or purges of {users_of(users_and_types)}" if users_and_types else "nothing"


def _breaker(snapshot: Snapshot, target: str) -> str:
    means = {"closed": "", "open": "; only probes are sent", "half-open": "; a probe is in flight"}
    for breaker in snapshot.breakers:
        if breaker.target == target:
            return _state(breaker.for_seconds, breaker.state) + means[breaker.state]
    return NOTHING


def _state(seconds: float | None, says: str) -> str:
    return says if seconds is None else f"{says} for {duration(seconds)}"


def _tier(tier: Tier) -> tuple[Child, ...]:
    name = {"local": "this process", "shared": "Redis"}[tier.name]
    counts = (tier.hits, tier.negatives, tier.stale, tier.misses, tier.errors)
    return (name, f"{tier.asked:,}", percent(tier.hit_ratio), *(f"{count:,}" for count in counts))


def _fill(part: int, whole: int, shown: str, name: str) -> Html:
    share = part / whole if whole else 0.0
    return join(
        el("meter", value=f"{share:.3f}", min=0, max=1, aria_label=f"{name} in use"),
        f" {shown}, {percent(share)} of {size(whole) if name == 'Memory' else f'{whole:,}'}",
    )


def _grouped(errors: Sequence[RecentError]) -> list[list[RecentError]]:
    """Errors that differ only in time and request; the newest group first, and in it the newest error."""
    groups: dict[tuple[object, ...], list[RecentError]] = {}
    for error in errors:
        same = (error.method, error.route, error.status, error.code, error.cause, error.detail)
        groups.setdefault(same, []).append(error)
    return list(groups.values())


def _error(group: list[RecentError], process: Process) -> tuple[Child, ...]:
    error = group[0]
    first, last = _time(group[-1].at), _time(error.at)
    return (
        last if first == last else f"{first} to {last}",
        f"{len(group)}",
        error.cause,
        error.status,
        el("code", error.code),
        join(error.method, " ", el("code", error.route)),
        error.detail,
        el("code", error.request_id),
        NOTHING if error.again is None else _again(error, error.again, process),
    )


def _again(error: RecentError, target: str, process: Process) -> Html:
    verb = "read the current rating" if error.method in WRITES else "read the same ids"
    command = curl(process.api_url, target, asks_caller_token=process.asks_caller_token)
    return el("details", el("summary", verb), el("pre", el("code", command), tabindex=0))


def curl(api_url: str, target: str, *, asks_caller_token: bool) -> str:
    """A command for a shell, with the tokens in the variables that `warm` uses."""
    api = CurlTarget.at(api_url)
    caller = '-H "X-Gateway-Token: $GATEWAY_CALLER_TOKEN" ' if asks_caller_token else ""
    return f'curl -i {api.via}{caller}-H "Music-User-Token: $MUSIC_USER_TOKEN" {api.quoted(target)}'


def _left_out(snapshot: Snapshot, what: str) -> Html:
    if not snapshot.access.token_set:
        return el(
            "p",
            f"{what} are shown only to requests from this host, unless ",
            el("code", "ops.token"),
            " is set.",
        )
    refused = snapshot.access.refused
    return el(
        "form",
        el("p", "This is not the ops token.", class_="finding failing", role="alert") if refused else None,
        el("p", f"{what} are shown to requests with the ops token."),
        labelled("Ops token", secret("ops_token")),
        el("button", "Show", type="submit"),
        method="post",
        action="/status",
        autocomplete="off",
    )


def _time(epoch_seconds: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(epoch_seconds))


def _moment(epoch_seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(epoch_seconds))
