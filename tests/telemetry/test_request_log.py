import io
import json
from collections.abc import Callable

import structlog

from gateway.telemetry.request_log import FLUSH_LINES, ConsoleRequestLog, JsonRequestLog, RequestLine


def line(**more: object) -> RequestLine:
    fields = {
        "request_id": "r",
        "trace_id": None,
        "method": "GET",
        "route": "/v1/me/ratings/{type}",
        "type": "albums",
        "status": 200,
        "duration_ms": 0.5,
        "ids": 25,
        "local": 25,
        "shared": 0,
        "upstream": 0,
        "stale": 0,
        "upstream_calls": 0,
        "user": "0a1b2c3d",
    }
    return RequestLine(**(fields | more))  # type: ignore[arg-type]


class Later:
    def __init__(self) -> None:
        self.asked: list[Callable[[], None]] = []

    def __call__(self, seconds: float, call: Callable[[], None]) -> None:
        self.asked.append(call)


def test_lines_are_written_together_a_moment_later():
    stream, later = io.BytesIO(), Later()
    log = JsonRequestLog(stream, later, wall=lambda: 1_800_000_000.25)
    log(line())
    log(line(status=404, error="40400 none"))
    assert stream.getvalue() == b""
    (flush,) = later.asked
    flush()
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first["timestamp"] == "2027-01-15T08:00:00.250000Z"
    assert (first["event"], first["level"], first["ids"]) == ("request", "info", 25)
    assert "error" not in first
    assert (second["status"], second["error"]) == (404, "40400 none")


def test_many_lines_do_not_wait():
    stream = io.BytesIO()
    log = JsonRequestLog(stream, Later())
    for _ in range(FLUSH_LINES):
        log(line())
    assert len(stream.getvalue().splitlines()) == FLUSH_LINES


def test_nothing_to_write_writes_nothing():
    stream = io.BytesIO()
    JsonRequestLog(stream, Later()).flush()
    assert stream.getvalue() == b""


def test_the_second_of_the_timestamp_moves_on():
    stream, now = io.BytesIO(), iter([1_800_000_000.0, 1_800_000_061.0])
    log = JsonRequestLog(stream, Later(), wall=lambda: next(now))
    log(line())
    log(line())
    log.flush()
    stamps = [json.loads(raw)["timestamp"] for raw in stream.getvalue().splitlines()]
    assert stamps == ["2027-01-15T08:00:00.000000Z", "2027-01-15T08:01:01.000000Z"]


def test_on_a_terminal_the_line_is_structlogs():
    with structlog.testing.capture_logs() as captured:
        log = ConsoleRequestLog(structlog.get_logger())
        log(line(error="50400 late"))
        log.flush()
    (shown,) = captured
    assert (shown["event"], shown["ids"], shown["error"]) == ("request", 25, "50400 late")
    assert "timestamp" not in shown
