"""Counted parts of a snapshot, from the increase of counters."""

import pytest

from gateway.ops.history import History, Interval, read
from gateway.ops.status import collect
from gateway.telemetry.metrics import Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def since_start(metrics: Metrics, seconds: float = 5.0) -> Interval:
    return Interval(0.0, seconds, read(metrics).minus(read(Metrics())))


def test_traffic_counts_the_requests_of_the_interval(metrics):
    metrics.http_requests.labels("r", "GET", "200").inc(9)
    metrics.http_requests.labels("r", "GET", "504").inc(1)
    metrics.http_request_duration.labels("r", "hit").observe(0.002)
    traffic = collect.traffic(since_start(metrics))
    assert (traffic.requests, traffic.rate) == (10, 2.0)
    assert traffic.by_status == {"200": 9, "504": 1}
    assert (traffic.failed, traffic.failed_share) == ({}, 0.0)
    assert traffic.p50_seconds == pytest.approx(0.00175)
    assert traffic.hits == 1
    assert traffic.hits_p99_seconds == traffic.p99_seconds == pytest.approx(0.002485)


def test_requests_fail_by_cause_as_the_availability_objective_counts_them(metrics):
    metrics.http_requests.labels("r", "GET", "200").inc(10)
    metrics.requests_failed.labels("apple").inc(2)
    metrics.requests_failed.labels("developer_token").inc(1)
    metrics.internal_errors.inc(1)
    traffic = collect.traffic(since_start(metrics))
    assert traffic.failed == {"apple": 2, "developer_token": 1, "gateway": 1}
    assert traffic.failed_share == 0.4


def test_each_tier_has_its_own_hit_ratio(metrics):
    for result, count in {"hit": 5, "negative": 2, "stale": 1, "miss": 2}.items():
        metrics.cache_ids.labels("local", result).inc(count)
    for result, count in {"hit": 1, "error": 2}.items():
        metrics.cache_ids.labels("shared", result).inc(count)
    counted = since_start(metrics).counted
    local, shared = collect.tier("local", counted), collect.tier("shared", counted)
    assert (local.asked, local.hits, local.negatives, local.hit_ratio) == (10, 5, 2, 0.7)
    assert (shared.asked, shared.errors, shared.hit_ratio) == (3, 2, 1 / 3)
    assert collect.cached_ratio(counted) == 0.8


def test_without_the_in_process_tier_the_ratio_is_that_of_redis(metrics):
    for result, count in {"hit": 5, "negative": 2, "miss": 3}.items():
        metrics.cache_ids.labels("shared", result).inc(count)
    assert collect.cached_ratio(since_start(metrics).counted) == 0.7


def test_calls_answered_5xx_or_not_at_all_have_failed(metrics):
    for status, count in {"200": 6, "404": 1, "429": 1, "500": 1, "timeout": 1}.items():
        metrics.upstream_requests.labels("read", status).inc(count)
    counted = since_start(metrics).counted
    assert collect.failed_share(counted.calls) == 0.2
    assert collect.by_label(counted.calls)["timeout"] == 1


def test_only_checks_that_could_find_an_old_rating_are_counted(metrics):
    def count(after: str, result: str, checks: int) -> None:
        metrics.write_visibility_checks.labels(after, "local", result).inc(checks)

    count("1", "agree", 90)
    count("5", "newer", 7)
    count("5", "absent", 8)
    count("0.1", "stale", 2)
    before = read(metrics)
    count("1", "stale", 3)
    now = read(metrics)
    view = collect.visibility(now, now.minus(before))
    assert (view.checks, view.stale, view.stale_lately) == (95, 5, 3)


def test_old_ratings_right_after_a_write_do_not_count_in_the_window(metrics):
    metrics.write_visibility_checks.labels("0.1", "local", "stale").inc()
    now = read(metrics)
    assert collect.visibility(now, now.minus(read(Metrics()))).stale_lately == 0


def test_errors_of_redis_are_counted_by_kind(metrics):
    metrics.shared_cache_errors.labels("denied").inc(3)
    assert collect.by_label(since_start(metrics).counted.redis_errors) == {"denied": 3}


def test_the_course_has_a_point_per_minute(metrics):
    history = History()
    history.take(read(metrics), 0.0)
    for step in range(1, 9):
        metrics.http_requests.labels("r", "GET", "500").inc(15)
        metrics.internal_errors.inc(15)
        metrics.upstream_requests.labels("read", "200").inc(30)
        metrics.cache_ids.labels("local", "miss").inc()
        history.take(read(metrics), 15.0 * step)
    older, newer = collect.course(history.course(), now=125.0)
    assert (older.ago_seconds, newer.ago_seconds) == (65.0, 5.0)
    assert (newer.requests, newer.failures, newer.calls) == (1.0, 1.0, 2.0)
    assert (newer.local_ratio, newer.cached_ratio, newer.p99_seconds) == (0.0, 0.0, None)


def test_a_share_of_nothing_is_none(metrics):
    quiet = since_start(metrics)
    assert collect.cached_ratio(quiet.counted) is None
    assert collect.traffic(quiet).failed_share is None
    assert collect.failed_share(quiet.counted.calls) is None
