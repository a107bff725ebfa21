"""Requests are counted and logged together a moment later, but before metrics are read."""

import weakref

import pytest

from gateway.errors import (
    AVAILABILITY_CAUSES,
    AppleError,
    Cause,
    DeadlineExceeded,
    GatewayError,
    Quarantined,
    Refused,
)
from gateway.telemetry.metrics import Metrics
from gateway.web.access_log import FLUSH_REQUESTS, AccessLog
from gateway.web.request_record import RequestRecord


class Lines:
    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def __call__(self, lines) -> None:
        self.batches.append([line.request_id for _, line in lines])


def answered(name: str) -> RequestRecord:
    record = RequestRecord("GET", {"X-Request-Id": name}, 0.0)
    record.status = 200
    return record


def counted(metrics: Metrics) -> float | None:
    labels = {"route": "unmatched", "method": "GET", "status": "200"}
    return metrics.registry.get_sample_value("gateway_http_requests_total", labels)


async def test_all_requests_are_counted_when_metrics_are_read():
    metrics = Metrics()
    access_log = AccessLog(metrics, None)
    access_log.add(answered("a"), 1.0, logged=True)
    access_log.add(answered("b"), 1.0, logged=True)
    assert counted(metrics) == 2


async def test_sampled_requests_are_logged_together():
    lines = Lines()
    access_log = AccessLog(Metrics(), lines)  # type: ignore[arg-type]
    for name, logged in (("a", True), ("b", False), ("c", True)):
        access_log.add(answered(name), 1.0, logged=logged)
    assert lines.batches == []
    access_log.flush()
    assert lines.batches == [["a", "c"]]


async def test_many_are_logged_at_once():
    lines = Lines()
    access_log = AccessLog(Metrics(), lines)  # type: ignore[arg-type]
    for _ in range(FLUSH_REQUESTS):
        access_log.add(answered("a"), 1.0, logged=True)
    assert [len(batch) for batch in lines.batches] == [FLUSH_REQUESTS]


async def test_metrics_do_not_keep_a_log_alive():
    metrics = Metrics()
    access_log = AccessLog(metrics, None)
    alive = weakref.ref(access_log)
    del access_log
    assert alive() is None
    metrics.flush()


@pytest.mark.parametrize("cause", sorted(AVAILABILITY_CAUSES))
async def test_failed_requests_are_exported_as_0_before_the_first_failure(cause: Cause):
    metrics = Metrics()
    AccessLog(metrics, None)
    assert metrics.registry.get_sample_value("gateway_requests_failed_total", {"cause": cause}) == 0


@pytest.mark.parametrize(
    ("error", "failed", "internal"),
    [
        (GatewayError("a bug"), [], 1),
        (AppleError(500, b""), ["apple"], 0),
        (DeadlineExceeded("too late"), ["deadline"], 0),
        (Quarantined(403, b""), [], 0),
        (Refused(504, "50400", "Gateway Timeout", "only-if-cached"), [], 0),
    ],
    ids=["bug", "Apple's 500", "deadline", "user", "only-if-cached"],
)
async def test_a_failure_that_availability_counts_is_counted_once(error, failed, internal):
    metrics = Metrics()
    access_log = AccessLog(metrics, None)
    record = answered("a")
    record.error = error
    access_log.add(record, 1.0, logged=True)
    value = metrics.registry.get_sample_value
    causes = [cause for cause in Cause if value("gateway_requests_failed_total", {"cause": cause})]
    assert (causes, value("gateway_internal_errors_total")) == (failed, internal)
