"""Requests are counted and told a moment later, together, and by the time that anybody looks."""

from gateway.telemetry.metrics import Metrics
from gateway.web.access_log import FLUSH_REQUESTS, AccessLog
from gateway.web.request_record import RequestRecord


class Told:
    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def __call__(self, lines) -> None:
        self.batches.append([line.request_id for _, line in lines])


def answered(name: str) -> RequestRecord:
    exchange = RequestRecord("GET", {"X-Request-Id": name}, 0.0)
    exchange.status = 200
    return exchange


def counted(metrics: Metrics) -> float | None:
    labels = {"route": "unmatched", "method": "GET", "status": "200"}
    return metrics.registry.get_sample_value("gateway_http_requests_total", labels)


async def test_whoever_reads_the_metrics_finds_all_requests_counted():
    metrics = Metrics()
    afterwards = AccessLog(metrics, None)
    afterwards.add(answered("a"), 1.0, logged=True)
    afterwards.add(answered("b"), 1.0, logged=True)
    assert counted(metrics) == 2


async def test_lines_are_told_together_those_that_are_sampled():
    told = Told()
    afterwards = AccessLog(Metrics(), told)  # type: ignore[arg-type]
    for name, logged in (("a", True), ("b", False), ("c", True)):
        afterwards.add(answered(name), 1.0, logged=logged)
    assert told.batches == []
    afterwards.flush()
    assert told.batches == [["a", "c"]]


async def test_many_do_not_wait():
    told = Told()
    afterwards = AccessLog(Metrics(), told)  # type: ignore[arg-type]
    for _ in range(FLUSH_REQUESTS):
        afterwards.add(answered("a"), 1.0, logged=True)
    assert [len(batch) for batch in told.batches] == [FLUSH_REQUESTS]


async def test_metrics_keep_nobody_alive_who_counts_for_them():
    metrics = Metrics()
    AccessLog(metrics, None)
    metrics.settle()
    assert metrics._unsettled == []
