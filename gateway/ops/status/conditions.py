"""Conditions of traffic, cache, Apple and Redis that are wrong. Pure.

Each says what is wrong in a sentence, or returns None. A condition compares with a threshold, which
`diagnosis.RULES` passes.
"""

from collections.abc import Mapping

from gateway.ops.formatting import about, by_frequency, duration, latency, percent, plural, users_of
from gateway.ops.status.collect import is_failure
from gateway.ops.status.snapshot import BreakerView, RedisView, Snapshot

FEW = 20
"""Shares of fewer requests or calls are chance."""
SUBSCRIBING_SECONDS = 1.0
"""A subscription takes a moment at the start, and when Redis returns."""
RECOVERED_SECONDS = 300.0
"""How long a recovery is news."""
STARTING_SECONDS = 5.0
"""A state entered within these seconds of the start is not a recovery."""
ERROR_BUDGET = 0.001
"""Share of requests that may fail: the availability objective is 99.9 %."""
FAST_BURN = 14.4 * ERROR_BUDGET


def unauthorized(snapshot: Snapshot, _: float) -> str | None:
    # A 401 may also be a user's: each was attributed when it arrived.
    if not snapshot.token.refused:
        return None
    refused, calls = snapshot.upstream.by_status.get("401", 0), snapshot.upstream.calls
    share = (
        f": {refused:,} of {plural(calls, 'call')} were answered 401 in the last "
        f"{about(snapshot.window_seconds)}"
    )
    return f"Apple refuses the developer token (key {snapshot.token.key_id}){share if refused else ''}."


def apple_stopped(snapshot: Snapshot, _: float) -> str | None:
    breaker = _breaker(snapshot, "apple")
    if breaker is None or breaker.state == "closed":
        return None
    causes = _causes(breaker.causes or _failures(snapshot))
    return (
        f"Calls to Apple are stopped{_for(breaker.for_seconds)}, except for probes, because too many failed"
        f"{causes}. Stale ratings are served; everything else is answered 503."
    )


def requests_failing(snapshot: Snapshot, threshold: float) -> str | None:
    traffic = snapshot.traffic
    total = sum(traffic.failed.values())
    if total <= threshold * traffic.requests:
        return None
    return (
        f"{total:,} of {plural(traffic.requests, 'request')} failed ({percent(traffic.failed_share)}) in the "
        f"last {about(snapshot.window_seconds)}{_causes(traffic.failed)}."
    )


def requests_failing_slowly(snapshot: Snapshot, threshold: float) -> str | None:
    fast = requests_failing(snapshot, FAST_BURN)
    return None if fast else requests_failing(snapshot, threshold)


def apple_failing(snapshot: Snapshot, threshold: float) -> str | None:
    upstream, breaker = snapshot.upstream, _breaker(snapshot, "apple")
    if breaker is not None and breaker.state != "closed":
        return None
    if upstream.calls < FEW or (upstream.failed_share or 0) < threshold:
        return None
    return (
        f"{percent(upstream.failed_share)} of the calls to Apple failed in the last "
        f"{about(snapshot.window_seconds)}{_causes(_failures(snapshot))}: they are repeated, or stale "
        "ratings are served."
    )


def throttled(snapshot: Snapshot, threshold: float) -> str | None:
    upstream = snapshot.upstream
    throttled = upstream.by_status.get("429", 0)
    if upstream.calls < FEW or throttled <= threshold * upstream.calls:
        return None
    return (
        f"Apple throttles: {throttled:,} of {plural(upstream.calls, 'call')} were answered 429 in the last "
        f"{about(snapshot.window_seconds)}. At most {upstream.limit} of {upstream.max_limit} calls may be in "
        "flight now."
    )


def calls_forbidden(snapshot: Snapshot, threshold: float) -> str | None:
    forbidden, calls = snapshot.upstream.by_status.get("403", 0), snapshot.upstream.calls
    if calls < FEW or forbidden <= threshold * calls:
        return None
    return (
        f"Apple answered 403 to {forbidden:,} of {plural(calls, 'call')} in the last "
        f"{about(snapshot.window_seconds)}: these are not single users."
    )


def requests_forbidden(snapshot: Snapshot, threshold: float) -> str | None:
    forbidden, requests = snapshot.traffic.by_status.get("403", 0), snapshot.traffic.requests
    if requests < FEW or forbidden <= threshold * requests or calls_forbidden(snapshot, threshold):
        return None
    return (
        f"{forbidden:,} of {plural(requests, 'request')} were answered 403 in the last "
        f"{about(snapshot.window_seconds)}: callers send no user token, or one that Apple refuses."
    )


def batches_shrunk(snapshot: Snapshot, _: float) -> str | None:
    upstream = snapshot.upstream
    if upstream.batch_size >= upstream.max_batch_size:
        return None
    return (
        f"Calls to Apple ask for {plural(upstream.batch_size, 'id')} at most instead of "
        f"{upstream.max_batch_size}, because larger calls failed and their halves did not."
    )


def redis_down(snapshot: Snapshot, _: float) -> str | None:
    redis = snapshot.redis
    if redis is None or redis.answering:
        return None
    return (
        f"Redis has not been usable{_for(redis.answering_for_seconds)}{_causes(_redis_failures(redis))}: "
        f"every lookup costs a call to Apple.{_latest(redis.reason)}"
    )


def redis_failing(snapshot: Snapshot, threshold: float) -> str | None:
    redis = snapshot.redis
    shared = next(tier for tier in snapshot.tiers if tier.name == "shared")
    if (
        redis is None
        or not redis.answering
        or shared.asked < FEW
        or shared.errors <= threshold * shared.asked
    ):
        return None
    return (
        f"{percent(shared.errors / shared.asked)} of the lookups in Redis failed in the last "
        f"{about(snapshot.window_seconds)}{_causes(_redis_failures(redis))}: each cost a call to Apple."
    )


def subscription_down(snapshot: Snapshot, _: float) -> str | None:
    redis = snapshot.redis
    if redis is None or redis.subscribed or not redis.answering:
        return None
    if redis.subscribed_for_seconds is not None and redis.subscribed_for_seconds < SUBSCRIBING_SECONDS:
        return None
    return (
        f"The invalidation subscription is down{_for(redis.subscribed_for_seconds)}: entries in memory are "
        f"trusted for {snapshot.local.trust_seconds:g} s only, then Redis is asked."
    )


def undelivered(snapshot: Snapshot, _: float) -> str | None:
    redis = snapshot.redis
    if redis is None or not redis.undelivered_writes:
        return None
    return (
        f"Writes or purges of {users_of(redis.undelivered_writes)} have not reached Redis: other gateways "
        "may still return the old ratings."
    )


def stale_after_write(snapshot: Snapshot, _: float) -> str | None:
    stale = snapshot.visibility.stale_lately
    if not stale:
        return None
    return (
        f"{plural(stale, 'check')} found an old rating a second or more after a "
        f"write in the last {about(snapshot.window_seconds)}."
    )


def hits_collapsed(snapshot: Snapshot, threshold: float) -> str | None:
    usual = [point.cached_ratio for point in snapshot.course[:-5] if point.cached_ratio is not None]
    now = snapshot.cached_ratio
    if now is None or len(usual) < 10 or max(tier.asked for tier in snapshot.tiers) < FEW:
        return None
    average = sum(usual) / len(usual)
    if now >= threshold * average:
        return None
    return f"Only {percent(now)} of the ids are fresh in the cache; {percent(average)} over the last hour."


def hits_slow(snapshot: Snapshot, threshold: float) -> str | None:
    p99 = snapshot.traffic.hits_p99_seconds
    if p99 is None or p99 <= threshold or snapshot.traffic.hits < FEW:
        return None
    return f"1 % of the cache hits take {latency(p99)} or longer."


def apple_recovered(snapshot: Snapshot, _: float) -> str | None:
    return _recovered(snapshot, _breaker(snapshot, "apple"), "Calls to Apple")


def redis_recovered(snapshot: Snapshot, _: float) -> str | None:
    return _recovered(snapshot, _breaker(snapshot, "redis"), "Redis")


def _recovered(snapshot: Snapshot, breaker: BreakerView | None, what: str) -> str | None:
    if breaker is None or breaker.state != "closed" or breaker.for_seconds is None:
        return None
    since_start = snapshot.process.uptime_seconds - breaker.for_seconds
    if breaker.for_seconds > RECOVERED_SECONDS or since_start < STARTING_SECONDS:
        return None
    return f"{what} recovered {duration(breaker.for_seconds)} ago."


def _breaker(snapshot: Snapshot, target: str) -> BreakerView | None:
    return next((breaker for breaker in snapshot.breakers if breaker.target == target), None)


def _failures(snapshot: Snapshot) -> Mapping[str, int]:
    """Failed calls to Apple by status, or by how they failed without one."""
    by_status = snapshot.upstream.by_status
    return {status: count for status, count in by_status.items() if is_failure(status)}


def _redis_failures(redis: RedisView) -> Mapping[str, int]:
    """Failed operations by kind, without those that were not attempted because of earlier ones."""
    attempted = {kind: count for kind, count in redis.errors.items() if kind != "unavailable"}
    return attempted or redis.errors


def _causes(counts: Mapping[str, int]) -> str:
    return f" ({by_frequency(counts)})" if counts else ""


def _latest(failure: str | None) -> str:
    return "" if failure is None else f" Latest failure: {failure.rstrip('.')}."


def _for(seconds: float | None) -> str:
    return "" if seconds is None else f" for {duration(seconds)}"
