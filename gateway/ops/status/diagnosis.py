"""What is wrong, in words and the worst first: a pure function of a snapshot.

Whatever one gateway can see of an alert is a rule here, with the alert's threshold where it has one, so that
the page and the pager say the same.
"""

from collections.abc import Callable

from gateway.ops.status.snapshot import BreakerView, Finding, Severity, Snapshot
from gateway.ops.words import about, duration, latency, percent, plural

ERROR_BUDGET = 0.001
FAST_BURN = 14.4
"""As in the availability alerts: at so many times the budget somebody is woken."""
HIT_SECONDS = 0.025
TOKEN_SECONDS = 300.0
SUBSCRIBING_SECONDS = 1.0
"""A subscription takes a moment at the start, and when Redis returns."""
FEW = 20
"""Shares of fewer are chance."""


def diagnose(snapshot: Snapshot) -> list[Finding]:
    """Everything that is wrong, the worst first."""
    findings = [finding for rule in RULES if (finding := rule(snapshot)) is not None]
    return sorted(findings, key=lambda finding: list(Severity).index(finding.severity))


def _not_ready(snapshot: Snapshot) -> Finding | None:
    failed = [check for check in snapshot.process.checks if check.required and not check.ok]
    if not failed:
        return None
    what = "; ".join(f"{check.name}: {check.detail}" for check in failed)
    return Finding(
        Severity.FAILING,
        f"Not ready, so no requests should be sent here ({what}).",
        "A gateway that drains ends by itself; otherwise the log says what is missing.",
    )


def _token_expiring(snapshot: Snapshot) -> Finding | None:
    left = snapshot.token.expires_in_seconds
    runbook = "RatingsGatewayTokenExpiring"
    if left <= 0:
        return Finding(
            Severity.FAILING,
            f"The developer token expired {duration(-left)} ago: Apple refuses every call.",
            "Restart this gateway: it mints a token when it starts, or says why it cannot. Check its clock.",
            runbook,
        )
    if left < TOKEN_SECONDS:
        return Finding(
            Severity.DEGRADED,
            f"The developer token expires in {duration(left)} and was not replaced.",
            "When it ends, Apple refuses every call. Restart this gateway; check its clock.",
            runbook,
        )
    return None


def _unauthorized(snapshot: Snapshot) -> Finding | None:
    refused, calls = snapshot.upstream.by_status.get("401", 0), snapshot.upstream.calls
    # One that is refused is minted anew and the call repeated: of few calls, half may be such.
    if refused <= (0.05 if calls >= FEW else 0.5) * calls:
        return None
    return Finding(
        Severity.FAILING,
        f"Apple refuses the developer token: {refused:,} of {plural(calls, 'call')} were answered 401 in the "
        f"last {about(snapshot.window_seconds)}.",
        f"Does the key {snapshot.token.key_id} still exist, and do key, key id and team id belong together?",
        "RatingsGatewayUpstreamUnauthorized",
    )


def _apple_stopped(snapshot: Snapshot) -> Finding | None:
    breaker = _breaker(snapshot, "apple")
    if breaker is None or breaker.state == "closed":
        return None
    return Finding(
        Severity.FAILING,
        f"Calls to Apple have been stopped{_for(breaker.for_seconds)}, but for probes, because too many "
        "failed: what is cached is served stale, everything else is answered 503.",
        "All gateways: Apple itself, or the way to it. This one alone: its network. It closes by itself.",
        "RatingsGatewayBreakerOpen",
    )


def _apple_failing(snapshot: Snapshot) -> Finding | None:
    upstream, breaker = snapshot.upstream, _breaker(snapshot, "apple")
    if breaker is not None and breaker.state != "closed":
        return None
    if upstream.calls < FEW or (upstream.failed_share or 0) < 0.05:
        return None
    statuses = ", ".join(
        f"{count:,} times {status}" for status, count in upstream.by_status.items() if status[0] not in "234"
    )
    return Finding(
        Severity.DEGRADED,
        f"{percent(upstream.failed_share)} of the calls to Apple failed in the last "
        f"{about(snapshot.window_seconds)} ({statuses}): they are repeated, or stale ratings stand in.",
        "Compare with other gateways and with Apple's system status page.",
        "RatingsGatewayBreakerOpen",
    )


def _throttled(snapshot: Snapshot) -> Finding | None:
    upstream = snapshot.upstream
    throttled = upstream.by_status.get("429", 0)
    if upstream.calls < FEW or throttled < 0.05 * upstream.calls:
        return None
    return Finding(
        Severity.DEGRADED,
        f"Apple throttles: {throttled:,} of {plural(upstream.calls, 'call')} were answered 429 in the last "
        f"{about(snapshot.window_seconds)}, and {upstream.limit} of {upstream.max_limit} calls may be under "
        "way at once.",
        "Stop what is not urgent (warm, batch callers, shadow checks); raise cache.fresh_seconds.",
        "RatingsGatewayThrottled",
    )


def _forbidden(snapshot: Snapshot) -> Finding | None:
    forbidden, calls = snapshot.upstream.by_status.get("403", 0), snapshot.upstream.calls
    if calls < FEW or forbidden <= 0.5 * calls:
        return None
    return Finding(
        Severity.DEGRADED,
        f"Apple answered 403 to {forbidden:,} of {plural(calls, 'call')} in the last "
        f"{about(snapshot.window_seconds)}: no longer single users.",
        "All users: the key lost its MusicKit service, or apple.origin is wrong. A few: their own tokens.",
        "RatingsGatewayUpstreamForbidden",
    )


def _redis_away(snapshot: Snapshot) -> Finding | None:
    redis = snapshot.redis
    if redis is None:
        return None
    shared = next(tier for tier in snapshot.tiers if tier.name == "shared")
    runbook = "RatingsGatewayRedisErrors"
    advice = "Answers stay right. Look at Redis itself (memory limit, restarts), then at the network."
    if not redis.answering:
        return Finding(
            Severity.DEGRADED,
            f"Redis has not been answering{_for(redis.answering_for_seconds)}: "
            "every lookup costs an upstream call.",
            advice,
            runbook,
        )
    if shared.asked < FEW or shared.errors <= 0.05 * shared.asked:
        return None
    return Finding(
        Severity.DEGRADED,
        f"{percent(shared.errors / shared.asked)} of the lookups in Redis failed in the last "
        f"{about(snapshot.window_seconds)}: each cost an upstream call.",
        advice,
        runbook,
    )


def _news_down(snapshot: Snapshot) -> Finding | None:
    redis = snapshot.redis
    if redis is None or redis.news or not redis.answering:
        return None
    if redis.news_for_seconds is not None and redis.news_for_seconds < SUBSCRIBING_SECONDS:
        return None
    return Finding(
        Severity.DEGRADED,
        f"No news from the other gateways{_for(redis.news_for_seconds)}: ratings in this process are "
        f"believed for {snapshot.local.trust_seconds:g} s only, and then Redis is asked.",
        "Redis' publish/subscribe: a proxy that does not pass it, an ACL, or a client closed for its buffer.",
        "RatingsGatewayNewsDown",
    )


def _untold(snapshot: Snapshot) -> Finding | None:
    redis = snapshot.redis
    if redis is None or not redis.untold_writes:
        return None
    return Finding(
        Severity.DEGRADED,
        f"Redis could not be told yet what was written ({redis.untold_writes:,} by user and type): "
        "other gateways may still show the old ratings.",
        "They are told when Redis answers again. Keep this gateway running until then.",
        "RatingsGatewayRedisErrors",
    )


def _requests_failing(snapshot: Snapshot) -> Finding | None:
    traffic = snapshot.traffic
    share = traffic.failed_share or 0
    failed = sum(count for status, count in traffic.by_status.items() if status.startswith("5"))
    if failed <= ERROR_BUDGET * traffic.requests:
        return None
    fast = share > FAST_BURN * ERROR_BUDGET
    return Finding(
        Severity.FAILING if fast else Severity.DEGRADED,
        f"{failed:,} of {plural(traffic.requests, 'request')} failed ({percent(share)}) in the last "
        f"{about(snapshot.window_seconds)}.",
        "502, 503 and 504 come from Apple or the way to it, 500 from this gateway: see recent errors.",
        f"RatingsGatewayAvailabilityBurn{'Fast' if fast else 'Slow'}",
    )


def _hits_slow(snapshot: Snapshot) -> Finding | None:
    p99 = snapshot.traffic.hits_p99_seconds
    if p99 is None or p99 <= HIT_SECONDS or snapshot.traffic.hits < FEW:
        return None
    return Finding(
        Severity.DEGRADED,
        f"One hit in a hundred takes {latency(p99)} or longer, though nobody was asked for it.",
        "This gateway's CPU (at its limit?), Redis, or requests with thousands of ids.",
        "RatingsGatewayHitLatencyBurnSlow",
    )


def _reload_failed(snapshot: Snapshot) -> Finding | None:
    if snapshot.process.last_reload_successful:
        return None
    return Finding(
        Severity.DEGRADED,
        "Changed settings or secrets could not be read. The old ones stay in use, but a restart would fail.",
        "The log line `reload` says what is wrong. Correct it before anything restarts.",
        "RatingsGatewayReloadFailed",
    )


def _restart_needed(snapshot: Snapshot) -> Finding | None:
    if not snapshot.process.not_applied:
        return None
    return Finding(
        Severity.NOTE,
        f"Changed settings wait for a restart: {', '.join(snapshot.process.not_applied)}.",
        "A reload applies the signing key, caller tokens, ops token and Redis URL; others need a restart.",
    )


def _hits_collapsed(snapshot: Snapshot) -> Finding | None:
    usual = [point.cached_ratio for point in snapshot.course[:-5] if point.cached_ratio is not None]
    now = snapshot.cached_ratio
    if now is None or len(usual) < 10 or max(tier.asked for tier in snapshot.tiers) < FEW:
        return None
    average = sum(usual) / len(usual)
    if now >= 0.5 * average:
        return None
    return Finding(
        Severity.DEGRADED,
        f"Only {percent(now)} of the ids are fresh in the cache, {percent(average)} in the last hour.",
        "Evictions, Redis, a rollout, or a caller that sends no-cache or ever new variants.",
        "RatingsGatewayHitRatioCollapse",
    )


def _local_full(snapshot: Snapshot) -> Finding | None:
    if not snapshot.local.evictions:
        return None
    return Finding(
        Severity.NOTE,
        f"The in-process tier is full: {snapshot.local.evictions:,} entries left it in the last "
        f"{about(snapshot.window_seconds)} to make room.",
        "Where the hit ratio suffers: raise cache.local_max_bytes, and the memory limit with it.",
    )


def _breaker(snapshot: Snapshot, target: str) -> BreakerView | None:
    return next((breaker for breaker in snapshot.breakers if breaker.target == target), None)


def _for(seconds: float | None) -> str:
    return "" if seconds is None else f" for {duration(seconds)}"


RULES: tuple[Callable[[Snapshot], Finding | None], ...] = (
    _not_ready,
    _token_expiring,
    _unauthorized,
    _apple_stopped,
    _requests_failing,
    _apple_failing,
    _throttled,
    _forbidden,
    _redis_away,
    _news_down,
    _untold,
    _reload_failed,
    _restart_needed,
    _hits_collapsed,
    _hits_slow,
    _local_full,
)
"""Within one severity, findings stand in this order: causes before effects."""
