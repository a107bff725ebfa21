"""From counters and states to the snapshot."""

import pytest

from gateway import __version__
from gateway.errors import BreakerOpen
from gateway.ops.history import read
from gateway.ops.status.collect import collect
from gateway.ops.status.snapshot import AccessView, SettingView
from tests.ops.conftest import REDIS

GRANTED = AccessView(granted=True, token_set=False)
REFUSED = AccessView(granted=False, token_set=True)


def test_the_process_says_who_it_is(sources, clock):
    process = collect(sources, GRANTED).process
    assert process.version == __version__
    assert process.uptime_seconds == 600.0
    assert process.at == clock.time()
    assert process.started_at == clock.time() - 600.0
    assert (process.api_url, process.ops_url) == ("http://127.0.0.1:1", "http://127.0.0.1:2")
    assert process.checks[0].name == "accepting"
    assert process.last_reload_successful


def test_traffic_is_what_was_counted_in_the_window(sources, clock):
    requests = sources.metrics.http_requests
    requests.labels("r", "GET", "200").inc(9)
    requests.labels("r", "GET", "503").inc(1)
    sources.metrics.http_request_duration.labels("r", "hit").observe(0.002)
    clock.now += 5.0
    traffic = collect(sources, GRANTED).traffic
    assert (traffic.requests, traffic.rate) == (10, 2.0)
    assert traffic.by_status == {"200": 9, "503": 1}
    assert traffic.failed_share == 0.1
    assert traffic.p50_seconds == pytest.approx(0.00175)
    assert traffic.hits == 1
    assert traffic.hits_p99_seconds == traffic.p99_seconds == pytest.approx(0.002485)


def test_each_tier_tells_its_share(sources, clock):
    ids = sources.metrics.cache_ids
    for result, count in {"hit": 5, "negative": 2, "stale": 1, "miss": 2}.items():
        ids.labels("local", result).inc(count)
    for result, count in {"hit": 1, "error": 2}.items():
        ids.labels("shared", result).inc(count)
    clock.now += 5.0
    snapshot = collect(sources, GRANTED)
    local, shared = snapshot.tiers
    assert (local.asked, local.hits, local.negatives, local.hit_ratio) == (10, 5, 2, 0.7)
    assert (shared.asked, shared.errors, shared.hit_ratio) == (3, 2, 1 / 3)
    assert snapshot.cached_ratio == 0.8


def test_redis_alone_has_its_share_too(sources, clock):
    for result, count in {"hit": 5, "negative": 2, "miss": 3}.items():
        sources.metrics.cache_ids.labels("shared", result).inc(count)
    clock.now += 5.0
    assert collect(sources, GRANTED).cached_ratio == 0.7


def test_calls_without_a_sound_answer_are_failed(sources, clock):
    calls = sources.metrics.upstream_requests
    for status, count in {"200": 6, "404": 1, "429": 1, "500": 1, "timeout": 1}.items():
        calls.labels("read", status).inc(count)
    sources.metrics.upstream_retries.labels("throttled").inc(3)
    sources.metrics.upstream_in_flight.set(2)
    sources.metrics.upstream_concurrency_limit.set(48)
    clock.now += 10.0
    upstream = collect(sources, GRANTED).upstream
    assert (upstream.calls, upstream.rate, upstream.failed_share) == (10, 1.0, 0.2)
    assert (upstream.in_flight, upstream.limit, upstream.max_limit, upstream.retries) == (2, 48, 64, 3)


def test_the_developer_token_is_told_by_its_key_and_its_end(sources, clock):
    sources.metrics.developer_token_expiry.set(clock.time() + 90)
    token = collect(sources, GRANTED).token
    assert (token.key_id, token.expires_in_seconds) == ("KEYKEYKEY1", 90.0)


def test_the_local_tier_is_shown_against_its_bounds(sources, clock):
    sources.metrics.local_cache_entries.set(150)
    sources.metrics.local_cache_bytes.set(3_000)
    sources.metrics.local_cache_evictions.inc(7)
    local = collect(sources, GRANTED).local
    assert (local.entries, local.max_entries, local.bytes, local.max_bytes) == (150, 200, 3_000, 4_000)
    assert (local.evictions, local.trust_seconds) == (7, 1.0)


def test_breakers_and_redis_are_taken_over(sources):
    snapshot = collect(sources, GRANTED)
    (breaker,) = snapshot.breakers
    assert (breaker.target, breaker.state, breaker.for_seconds) == ("apple", "closed", 5.0)
    assert snapshot.redis is REDIS


def test_the_course_has_a_point_for_each_minute(sources, clock):
    for _ in range(8):
        clock.now += 15.0
        sources.metrics.http_requests.labels("r", "GET", "500").inc(15)
        sources.metrics.upstream_requests.labels("read", "200").inc(30)
        sources.metrics.cache_ids.labels("local", "miss").inc()
        sources.history.take(read(sources.metrics), clock.now)
    clock.now += 5.0
    older, newer = collect(sources, GRANTED).course
    assert (older.ago_seconds, newer.ago_seconds) == (65.0, 5.0)
    assert (newer.requests, newer.failures, newer.calls) == (1.0, 1.0, 2.0)
    assert (newer.local_ratio, newer.cached_ratio, newer.p99_seconds) == (0.0, 0.0, None)


def test_nothing_asked_is_no_ratio(sources):
    snapshot = collect(sources, GRANTED)
    assert snapshot.cached_ratio is None
    assert snapshot.traffic.failed_share is None
    assert snapshot.upstream.failed_share is None


def test_settings_and_recent_errors_are_for_whoever_may_see_them(sources):
    sources.recent.add(BreakerOpen("Not asked."), request_id="r", at=1.0, method="GET", route="x")
    snapshot = collect(sources, GRANTED)
    assert snapshot.settings is not None
    assert snapshot.settings[0] == SettingView(name="server.port", value="8080", source="default")
    assert snapshot.recent_errors is not None
    assert [error.request_id for error in snapshot.recent_errors] == ["r"]
    hidden = collect(sources, REFUSED)
    assert hidden.settings is None
    assert hidden.recent_errors is None
