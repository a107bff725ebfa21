"""Each condition that can be wrong is one sentence: what is wrong, since when, why, and what it costs.

Conditions are evaluated through `diagnose`, with the thresholds of the table.
"""

import pytest
from msgspec.structs import replace

from gateway.ops.health import Check
from gateway.ops.status import conditions
from gateway.ops.status.diagnosis import diagnose
from gateway.ops.status.snapshot import BreakerView
from tests.ops import samples
from tests.ops.findings import assert_found, untested
from tests.ops.samples import changed


def breaker(target, state, seconds=12.0):
    return replace(
        samples.healthy(), breakers=(BreakerView(target=target, state=state, for_seconds=seconds),)
    )


def check(name, *, ok, required=True):
    return changed("process", checks=(Check(name, ok=ok, detail="draining", required=required),))


def tier(**fields):
    local, shared = samples.healthy().tiers
    return replace(samples.healthy(), tiers=(local, replace(shared, **fields)))


def recovered(target, seconds=24.0):
    return breaker(target, "closed", seconds)


CASES = [
    (
        replace(
            changed("upstream", calls=40, by_status={"200": 36, "401": 4}),
            token=replace(samples.healthy().token, refused=True),
        ),
        "failing",
        "Apple refuses the developer token (key SANDBOXKEY): 4 of 40 calls were answered 401",
    ),
    (
        replace(
            changed("upstream", calls=400, by_status={"200": 399, "401": 1}),
            token=replace(samples.healthy().token, refused=True),
        ),
        "failing",
        "Apple refuses the developer token (key SANDBOXKEY): 1 of 400 calls were answered 401",
    ),
    (
        changed("token", refused=True),
        "failing",
        "Apple refuses the developer token (key SANDBOXKEY).",
    ),
    (
        breaker("apple", "open"),
        "failing",
        "Calls to Apple are stopped for 12 s, except for probes, because too many failed. Stale ratings",
    ),
    (breaker("apple", "open", None), "failing", "Calls to Apple are stopped, except for probes, because"),
    (breaker("apple", "half-open"), "failing", "Calls to Apple are stopped for 12 s, except for probes"),
    (
        changed("upstream", calls=100, by_status={"200": 90, "503": 7, "timeout": 3}, failed_share=0.1),
        "degraded",
        "10 % of the calls to Apple failed in the last 5 min (503: 7, timeout: 3)",
    ),
    (
        changed("upstream", calls=100, by_status={"200": 90, "429": 10}, limit=12),
        "degraded",
        "Apple throttles: 10 of 100 calls were answered 429 in the last 5 min. At most 12 of 64 calls may be",
    ),
    (
        changed("upstream", calls=100, by_status={"200": 40, "403": 60}),
        "degraded",
        "Apple answered 403 to 60 of 100 calls in the last 5 min: these are not single users.",
    ),
    (
        changed("traffic", requests=100, by_status={"200": 40, "403": 60}),
        "degraded",
        "60 of 100 requests were answered 403 in the last 5 min: callers send no user token",
    ),
    (
        changed("redis", answering=False, answering_for_seconds=12.4, subscribed=False, errors={"denied": 7}),
        "degraded",
        "Redis has not been usable for 12 s (denied: 7): every lookup costs a call to Apple.",
    ),
    (
        changed(
            "redis",
            answering=False,
            answering_for_seconds=12.4,
            subscribed=False,
            reason="denied",
        ),
        "degraded",
        "Redis has not been usable for 12 s: every lookup costs a call to Apple. Latest failure: denied.",
    ),
    (
        tier(asked=100, errors=10),
        "degraded",
        "10 % of the lookups in Redis failed in the last 5 min: each cost a call to Apple.",
    ),
    (
        changed("redis", subscribed=False, subscribed_for_seconds=70.0),
        "degraded",
        "The invalidation subscription is down for 1 min 10 s: entries in memory are trusted for 1 s only",
    ),
    (
        changed("redis", undelivered_writes=1),
        "degraded",
        "Writes or purges of 1 user and type have not reached Redis: other gateways may still return",
    ),
    (
        changed("visibility", stale=7, stale_lately=2),
        "degraded",
        "2 checks found an old rating a second or more after a write in the last 5 min.",
    ),
    (
        changed("traffic", requests=1_000, failed={"deadline": 2}, failed_share=0.002),
        "degraded",
        "2 of 1,000 requests failed (0.2 %) in the last 5 min (deadline: 2).",
    ),
    (
        changed("traffic", requests=1_000, failed={"apple": 90, "gateway": 10}, failed_share=0.1),
        "failing",
        "100 of 1,000 requests failed (10 %) in the last 5 min (apple: 90, gateway: 10).",
    ),
    (changed("traffic", hits_p99_seconds=0.04), "degraded", "1 % of the cache hits take 40 ms or longer"),
    (
        replace(samples.healthy(), cached_ratio=0.3),
        "degraded",
        "Only 30 % of the ids are fresh in the cache; 93 % over the last hour.",
    ),
    (
        changed("upstream", batch_size=25),
        "degraded",
        (
            "Calls to Apple ask for 25 ids at most instead of 100, because larger calls failed and their "
            "halves did not."
        ),
    ),
    (recovered("apple"), "note", "Calls to Apple recovered 24 s ago."),
    (recovered("redis"), "note", "Redis recovered 24 s ago."),
]


@pytest.mark.parametrize(("snapshot", "severity", "what"), CASES, ids=[what[:40] for _, _, what in CASES])
def test_a_condition_is_one_finding_with_severity_and_advice(snapshot, severity, what):
    assert_found(snapshot, severity, what)


def test_every_condition_has_a_case():
    assert untested(conditions, CASES) == []


QUIET = {
    "all is well": samples.healthy(),
    "just started": samples.just_started(),
    "a failed check that is only reported": check("redis", ok=False, required=False),
    "a Redis breaker that is open while Redis answers": breaker("redis", "open"),
    "users that Apple answers 403, less than half of the calls": changed(
        "upstream", calls=100, by_status={"200": 60, "403": 40}
    ),
    "a developer token refused once and renewed": changed(
        "upstream", calls=400, by_status={"200": 399, "401": 1}
    ),
    "401s attributed to users": changed("upstream", calls=40, by_status={"200": 20, "401": 20}),
    "401s attributed to users in the first calls": changed(
        "upstream", calls=2, by_status={"200": 1, "401": 1}
    ),
    "failures of too few calls": changed(
        "upstream", calls=4, by_status={"503": 3, "403": 1}, failed_share=0.75
    ),
    "few 429s": changed("upstream", calls=100, by_status={"200": 97, "429": 3}),
    "a subscription that is being established": changed(
        "redis", subscribed=False, subscribed_for_seconds=0.3
    ),
    "an old rating found before the window": changed("visibility", stale=1),
    "few failed lookups": tier(asked=100, errors=3),
    "a breaker that closed long ago": recovered("apple", 900.0),
    "a breaker that has been closed since the start": replace(
        recovered("apple", 60.0), process=replace(samples.healthy().process, uptime_seconds=60.0)
    ),
    "403 for less than half of the requests": changed(
        "traffic", requests=100, by_status={"200": 60, "403": 40}
    ),
    "too few slow hits": changed("traffic", hits=5, hits_p99_seconds=0.4),
    "failures within the error budget": changed("traffic", requests=10_000, failed={"apple": 1}),
    "504s for callers that sent only-if-cached": changed(
        "traffic", requests=100, by_status={"200": 60, "504": 40}
    ),
    "a hit ratio above half of the usual": replace(samples.healthy(), cached_ratio=0.6),
    "a low hit ratio without an hour to compare with": replace(
        samples.healthy(), cached_ratio=0.1, course=samples.course()[:12]
    ),
}


@pytest.mark.parametrize("snapshot", QUIET.values(), ids=QUIET)
def test_what_is_normal_is_no_finding(snapshot):
    assert diagnose(snapshot) == []


def test_causes_are_listed_most_frequent_first():
    assert "(500: 102, timeout: 80)" in diagnose(samples.without_apple())[0].what


def test_403s_from_apple_are_reported_only_as_its_calls():
    both = replace(
        changed("traffic", requests=100, by_status={"403": 100}),
        upstream=replace(samples.healthy().upstream, calls=100, by_status={"403": 100}),
    )
    assert len(diagnose(both)) == 1


def test_an_open_breaker_replaces_the_finding_about_failing_calls():
    whats = [finding.what for finding in diagnose(samples.without_apple())]
    assert not any("of the calls to Apple fail" in what for what in whats)
