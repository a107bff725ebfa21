import json

import pytest
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


class Outlet:
    """Accepts at most `room` bytes at once."""

    def __init__(self, room: int = 10_000) -> None:
        self.room = room
        self.offered: list[bytes] = []
        self.urgent: list[bytes] = []
        self.ordinary: list[bytes] = []

    def write(self, line: bytes, *, urgent: bool = False) -> None:
        (self.urgent if urgent else self.ordinary).append(line)

    def offer(self, lines: bytes) -> bool:
        if len(lines) > self.room:
            return False
        self.offered.append(lines)
        return True


def test_lines_of_a_batch_are_written_together():
    outlet = Outlet()
    JsonRequestLog(outlet)(
        [(1_800_000_000.25, line()), (1_800_000_061.0, line(status=404, error="40400 none"))]
    )
    (written,) = outlet.offered
    first, second = map(json.loads, written.splitlines())
    assert first["timestamp"] == "2027-01-15T08:00:00.250000Z"
    assert (first["event"], first["level"], first["ids"]) == ("request", "info", 25)
    assert "error" not in first
    assert (second["status"], second["error"]) == (404, "40400 none")
    assert second["timestamp"] == "2027-01-15T08:01:01.000000Z"


def test_an_empty_batch_writes_nothing():
    outlet = Outlet()
    JsonRequestLog(outlet)([])
    assert outlet.offered == []


def test_a_batch_that_does_not_fit_is_written_line_by_line_with_failures_as_urgent():
    outlet = Outlet(room=10)
    JsonRequestLog(outlet)([(0.0, line()), (0.0, line(status=503, level="warning", error="50300 open"))])
    assert [json.loads(written)["status"] for written in outlet.ordinary] == [200]
    (failed,) = map(json.loads, outlet.urgent)
    assert (failed["status"], failed["level"]) == (503, "warning")


def test_at_level_warning_successes_are_not_logged():
    outlet = Outlet()
    JsonRequestLog(outlet, warnings_only=True)([(0.0, line()), (0.0, line(status=504, level="warning"))])
    (written,) = outlet.offered
    assert [json.loads(each)["status"] for each in written.splitlines()] == [504]


@pytest.mark.parametrize(("warnings_only", "levels"), [(False, ["info", "warning"]), (True, ["warning"])])
def test_on_a_terminal_a_failure_is_a_warning(warnings_only, levels):
    with structlog.testing.capture_logs() as captured:
        write = ConsoleRequestLog(structlog.get_logger(), warnings_only=warnings_only)
        write([(0.0, line()), (0.0, line(status=502, level="warning"))])
    assert [entry["log_level"] for entry in captured] == levels


def test_on_a_terminal_structlog_renders_the_line():
    with structlog.testing.capture_logs() as captured:
        ConsoleRequestLog(structlog.get_logger())([(0.0, line(error="50400 late"))])
    (shown,) = captured
    assert (shown["event"], shown["ids"], shown["error"]) == ("request", 25, "50400 late")
    assert "timestamp" not in shown
