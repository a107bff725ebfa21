"""The outlet of log lines, and the level of canonical ones."""

import pytest

from gateway.telemetry.logs import configure, logger, request_log
from tests.telemetry.test_request_log import Outlet, line


@pytest.mark.parametrize("form", ["json", "console"])
def test_all_lines_go_to_the_outlet_and_warnings_are_urgent(form):
    outlet = Outlet()
    configure(level="info", format_=form, coloured=False, outlet=outlet)
    logger().info("listening")
    logger().warning("breaker", target="apple")
    logger().error("bug")
    assert [b"listening" in written for written in outlet.ordinary] == [True]
    assert len(outlet.urgent) == 2
    assert all(written.endswith(b"\n") for written in [*outlet.ordinary, *outlet.urgent])


def test_canonical_lines_go_to_the_outlet():
    outlet = Outlet()
    configure(level="info", format_="json", coloured=False, outlet=outlet)
    write = request_log(level="info", format_="json")
    assert write is not None
    write([(0.0, line())])
    assert len(outlet.offered) == 1


@pytest.mark.parametrize(("level", "statuses"), [("warning", 1), ("info", 2)])
def test_at_level_warning_only_failures_are_logged(level, statuses):
    outlet = Outlet()
    configure(level=level, format_="json", coloured=False, outlet=outlet)
    write = request_log(level=level, format_="json")
    assert write is not None
    write([(0.0, line()), (0.0, line(status=503, level="warning"))])
    assert outlet.offered[0].count(b"\n") == statuses


def test_no_canonical_line_is_logged_above_warning():
    assert request_log(level="error", format_="json") is None
