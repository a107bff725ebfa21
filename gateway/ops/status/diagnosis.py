"""Finds what is wrong in a snapshot. `RULES` is the table of findings. Pure.

A condition that an alert detects, and one gateway can see, is a rule with the alert's name and threshold.
tests/deploy holds the alerts to the thresholds here.
"""

from collections.abc import Callable
from typing import NamedTuple

from gateway.ops.status import conditions as when
from gateway.ops.status import process_conditions as process
from gateway.ops.status.snapshot import Finding, Severity, Snapshot


class Rule(NamedTuple):
    """One row of the table."""

    severity: Severity
    alert: str | None
    """The alert of the same meaning, which is also its section of the runbook."""
    threshold: float
    """Compared as in the alert; 0 if there is nothing to compare."""
    check: Callable[[Snapshot, float], str | None]
    """What is wrong, since when and why, in one sentence; None if it is not."""
    advice: str


def diagnose(snapshot: Snapshot) -> list[Finding]:
    """Everything that is wrong, the worst first; within one severity in the order of the table."""
    findings = [
        Finding(rule.severity, what, rule.advice, rule.alert)
        for rule in RULES
        if (what := rule.check(snapshot, rule.threshold)) is not None
    ]
    return sorted(findings, key=lambda finding: list(Severity).index(finding.severity))


_CHECK_REDIS = (
    "Answers stay right. `check --connect` names the fault. `dns_error`, `connection`: the name and port in "
    "cache.redis_url, whether it runs, the network between. `denied`: user, password, rights or TLS. "
    "`readonly`: it refuses writes. `timeout`: its load. Otherwise its memory limit and restarts."
)
_CHECK_FAILURES = (
    "`apple`: Apple, or the way to it. `developer_token`: the key. `capacity`: more calls than Apple takes. "
    "`deadline`: slow calls, or callers' short deadlines. `gateway`: a fault to report. See recent errors."
)
FAILING, DEGRADED, NOTE = Severity.FAILING, Severity.DEGRADED, Severity.NOTE
RULES = (
    Rule(FAILING, None, 0, process.not_ready,
         "A draining gateway ends by itself. Otherwise the log says what is missing."),
    Rule(FAILING, "RatingsGatewayTokenExpiring", 0, process.token_expired,
         "Restart this gateway: it mints a token when it starts, or logs why it cannot. Check its clock."),
    Rule(FAILING, "RatingsGatewayUpstreamUnauthorized", 0, when.unauthorized,
         "Does this key still exist, and do key, key id and team id belong together? "
         "`ratings-gateway check --connect` tests them."),
    Rule(FAILING, "RatingsGatewayBreakerOpen", 0, when.apple_stopped,
         "All gateways: Apple, or the way to it. This one alone: its network. It closes by itself."),
    Rule(FAILING, "RatingsGatewayAvailabilityBurnFast", when.FAST_BURN, when.requests_failing,
         _CHECK_FAILURES),
    Rule(FAILING, "RatingsGatewayConnectionsRefused", 0, process.connections_refused,
         "Callers: reuse connections, and open fewer. Otherwise raise this gateway's limit on open files."),
    Rule(DEGRADED, "RatingsGatewayTokenExpiring", 300, process.token_expiring,
         "When it expires, Apple refuses every call. Restart this gateway; check its clock."),
    Rule(DEGRADED, "RatingsGatewayAvailabilityBurnSlow", when.ERROR_BUDGET, when.requests_failing_slowly,
         _CHECK_FAILURES),
    Rule(DEGRADED, None, 0.05, when.apple_failing,
         "Compare with other gateways, and with Apple's system status page."),
    Rule(DEGRADED, "RatingsGatewayClockSkew", 30, process.clock_skewed,
         "Synchronise the clock of this machine (NTP)."),
    Rule(DEGRADED, "RatingsGatewayThrottled", 0.05, when.throttled,
         "Stop what is not urgent (warm, batch callers, shadow checks); raise cache.fresh_seconds."),
    Rule(DEGRADED, None, 0, when.batches_shrunk,
         "Nothing to do: the size doubles every minute, or every ten minutes after Apple refused a doubled "
         "size. If it still shrinks again, Apple has a limit: set upstream.max_ids_per_call to it."),
    Rule(DEGRADED, "RatingsGatewayUpstreamForbidden", 0.5, when.calls_forbidden,
         "All users: the key lost its MusicKit service, or apple.origin is wrong. A few: their tokens."),
    Rule(DEGRADED, "RatingsGatewayUpstreamForbidden", 0.5, when.requests_forbidden,
         "Find the callers by `user` in the log lines with status 403: their users must sign in again."),
    Rule(DEGRADED, "RatingsGatewayRedisErrors", 0, when.redis_down,
         _CHECK_REDIS),
    Rule(DEGRADED, "RatingsGatewayRedisErrors", 0.05, when.redis_failing,
         _CHECK_REDIS),
    Rule(DEGRADED, "RatingsGatewaySubscriptionDown", 0, when.subscription_down,
         "Check publish/subscribe in Redis: a proxy without it, an ACL, or the output buffer limit."),
    Rule(DEGRADED, "RatingsGatewayRedisErrors", 0, when.undelivered,
         "They are replayed until Redis accepts them. Keep this gateway running until then."),
    Rule(DEGRADED, "RatingsGatewayStaleAfterWrite", 0, when.stale_after_write,
         "Expected only during a Redis failover. The log line `stale_after_write` has the write's timeline."),
    Rule(DEGRADED, "RatingsGatewayReloadFailed", 0, process.reload_failed,
         "The log line `reload` says what is wrong. Correct it before anything restarts."),
    Rule(DEGRADED, "RatingsGatewayLogLinesDropped", 0, process.log_lines_dropped,
         "Standard output is not read fast enough, or not writable: look at the disk and the log agent."),
    Rule(DEGRADED, "RatingsGatewayHitRatioCollapse", 0.5, when.hits_collapsed,
         "Evictions, Redis, a rollout, or a caller: no-cache, or query parameters that keep changing."),
    Rule(DEGRADED, "RatingsGatewayHitLatencyBurnSlow", 0.025, when.hits_slow,
         "Check this gateway's CPU limit, Redis, and requests with thousands of ids."),
    Rule(NOTE, None, 0, process.restart_needed,
         "A reload applies the signing key, caller tokens, ops token and Redis URL; others need a restart."),
    Rule(NOTE, None, 0, when.apple_recovered, "Nothing to do. Recent errors show what failed."),
    Rule(NOTE, None, 0, when.redis_recovered, "Nothing to do. A restarted Redis fills itself again."),
    Rule(NOTE, None, 0, process.memory_full,
         "If the hit ratio suffers: raise cache.local_max_bytes, and the memory limit with it."),
)  # fmt: skip
"""Causes precede effects."""
