import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.ops import history as history_module
from gateway.ops.history import (
    EVERY_SECONDS,
    KEPT_SECONDS,
    Counts,
    History,
    Interval,
    quantile,
    read,
    sample,
    total,
)
from gateway.telemetry.metrics import REQUEST_SECONDS, Metrics

EMPTY = read(Metrics())


def counted(requests: float):
    return replace(EMPTY, requests={("200",): requests})


def test_readings_sum_the_children_that_share_a_label():
    metrics = Metrics()
    metrics.http_requests.labels("a", "GET", "200").inc(2)
    metrics.http_requests.labels("b", "PUT", "200").inc(3)
    metrics.http_requests.labels("b", "GET", "503").inc()
    metrics.cache_ids.labels("local", "hit").inc(7)
    metrics.upstream_requests.labels("read", "429").inc(4)
    metrics.shared_cache_errors.labels("timeout").inc(5)
    reading = read(metrics)
    assert reading.requests == {("200",): 5, ("503",): 1}
    assert reading.ids == {("local", "hit"): 7}
    assert reading.calls == {("429",): 4}
    assert reading.redis_errors == {("timeout",): 5}


def test_durations_of_hits_are_read_separately():
    metrics = Metrics()
    metrics.http_request_duration.labels("a", "hit").observe(0.002)
    metrics.http_request_duration.labels("a", "miss").observe(0.2)
    reading = read(metrics)
    assert reading.durations["+Inf",] == 2
    assert reading.hit_durations["+Inf",] == 1
    assert reading.hit_durations["0.0025",] == 1


def test_a_child_that_is_new_counts_in_full():
    after = replace(EMPTY, requests={("200",): 5.0, ("503",): 1.0})
    assert after.minus(counted(3)).requests == {("200",): 2.0, ("503",): 1.0}


def test_lately_starts_at_the_reading_before_the_window():
    kept = History()
    for number in range(10):
        kept.take(counted(number), 15.0 * number)
    lately = kept.lately(counted(100), 140.0, 60.0)
    assert (lately.start, lately.end) == (75.0, 140.0)
    assert lately.counted.requests == {("200",): 95.0}


def test_lately_starts_at_the_first_reading_if_that_is_later():
    kept = History()
    kept.take(counted(0), 100.0)
    assert kept.lately(counted(6), 103.0, 300.0).rate({("200",): 6.0}) == 2.0


def test_lately_counts_from_zero_until_the_first_reading_is_as_old_as_the_window():
    kept = History()
    kept.take(counted(4), 100.0)
    assert kept.lately(counted(6), 103.0, 300.0).counted.requests == {("200",): 6.0}
    assert kept.lately(counted(9), 400.0, 300.0).counted.requests == {("200",): 5.0}


def test_without_an_earlier_reading_the_rate_is_zero():
    lately = History().lately(counted(6), 103.0, 300.0)
    assert lately.seconds == 0.0
    assert lately.rate(lately.counted.requests) == 0.0


def test_only_an_hour_is_kept():
    kept = History()
    for number in range(1_000):
        kept.take(counted(number), EVERY_SECONDS * number)
    last = EVERY_SECONDS * 999
    assert kept.lately(counted(1_000), last, 2 * KEPT_SECONDS).start == last - KEPT_SECONDS


def test_readings_older_than_an_hour_are_dropped_even_if_few():
    kept = History()
    kept.take(counted(0), 0.0)
    kept.take(counted(1), KEPT_SECONDS + 1)
    assert kept.lately(counted(2), KEPT_SECONDS + 1, 2 * KEPT_SECONDS).start == KEPT_SECONDS + 1


def test_the_course_has_steps_of_a_minute_and_ends_with_the_newest_reading():
    kept = History()
    for number in range(11):
        kept.take(counted(number), 15.0 * number)
    steps = kept.course()
    assert [(step.start, step.end) for step in steps] == [(30.0, 90.0), (90.0, 150.0)]
    assert [step.counted.requests["200",] for step in steps] == [4.0, 4.0]


def test_one_reading_makes_no_course():
    kept = History()
    kept.take(counted(0), 0.0)
    assert kept.course() == []


def test_totals_sum_the_children_that_are_named():
    counts: Counts = {("500",): 1.0, ("503",): 2.0, ("200",): 4.0}
    assert total(counts) == 7.0
    assert total(counts, "5") == 3.0
    assert Interval(0.0, 2.0, EMPTY).rate(counts) == 3.5


@pytest.mark.parametrize(
    ("buckets", "share", "estimate"),
    [
        ({"0.1": 0, "+Inf": 0}, 0.5, None),
        ({}, 0.5, None),
        ({"0.1": 10, "+Inf": 10}, 0.5, 0.05),
        ({"0.1": 10, "0.2": 20, "+Inf": 20}, 0.75, 0.15),
        ({"0.1": 0, "0.2": 0, "0.4": 8, "+Inf": 8}, 0.5, 0.3),
        ({"0.1": 1, "+Inf": 100}, 0.99, 0.1),
    ],
)
def test_quantiles_are_interpolated_within_a_bucket(buckets, share, estimate):
    counts: Counts = {(le,): float(count) for le, count in buckets.items()}
    assert quantile(counts, share) == (None if estimate is None else pytest.approx(estimate))


@given(st.lists(st.floats(0.0001, 9.9), min_size=1))
def test_quantiles_are_ordered_and_within_the_buckets_that_were_hit(observed):
    metrics = Metrics()
    for seconds in observed:
        metrics.http_request_duration.labels("a", "hit").observe(seconds)
    bounds = (0.0, *REQUEST_SECONDS)
    least = max(bound for bound in bounds if bound < min(observed))
    most = min(bound for bound in bounds if bound >= max(observed))
    buckets = read(metrics).durations
    estimates = [
        estimate for share in (0.01, 0.5, 0.99) if (estimate := quantile(buckets, share)) is not None
    ]
    assert len(estimates) == 3
    assert estimates == sorted(estimates)
    assert least <= estimates[0]
    assert estimates[-1] <= most


async def test_sampling_starts_at_once_and_continues(monkeypatch):
    times: list[float] = []
    taken = asyncio.Event()

    class Listening(History):
        def take(self, reading, now):
            times.append(now)
            if len(times) == 3:
                taken.set()

    class Clock:
        def monotonic(self):
            return 0.0

        def time(self):
            return 0.0

    kept = Listening()
    monkeypatch.setattr(history_module, "EVERY_SECONDS", 0.0)
    task = asyncio.create_task(sample(kept, Metrics(), Clock()))
    async with asyncio.timeout(10):
        await taken.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
