import io
import json

import structlog

from gateway.telemetry.request_log import ConsoleRequestLog, JsonRequestLog, RequestLine


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


def test_lines_are_written_together():
    stream = io.BytesIO()
    JsonRequestLog(stream)(
        [(1_800_000_000.25, line()), (1_800_000_061.0, line(status=404, error="40400 none"))]
    )
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first["timestamp"] == "2027-01-15T08:00:00.250000Z"
    assert (first["event"], first["level"], first["ids"]) == ("request", "info", 25)
    assert "error" not in first
    assert (second["status"], second["error"]) == (404, "40400 none")
    assert second["timestamp"] == "2027-01-15T08:01:01.000000Z"


def test_nothing_to_write_writes_nothing():
    stream = io.BytesIO()
    JsonRequestLog(stream)([])
    assert stream.getvalue() == b""


def test_on_a_terminal_the_line_is_structlogs():
    with structlog.testing.capture_logs() as captured:
        ConsoleRequestLog(structlog.get_logger())([(0.0, line(error="50400 late"))])
    (shown,) = captured
    assert (shown["event"], shown["ids"], shown["error"]) == ("request", 25, "50400 late")
    assert "timestamp" not in shown
