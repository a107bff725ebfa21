"""Each condition of the process is one sentence: what is wrong, since when, why, and what it costs."""

import pytest

from gateway.ops.health import Check
from gateway.ops.status import process_conditions
from tests.ops.findings import assert_found, untested
from tests.ops.samples import changed

CASES = [
    (
        changed("process", checks=(Check("accepting", ok=False, detail="draining", required=True),)),
        "failing",
        "Not ready, so it should receive no requests (accepting: draining).",
    ),
    (
        changed("token", expires_in_seconds=-180.0),
        "failing",
        "The developer token expired 3 min ago: Apple refuses every call.",
    ),
    (
        changed("token", expires_in_seconds=120.0),
        "degraded",
        "The developer token expires in 2 min and was not replaced.",
    ),
    (
        changed("token", apples_clock_ahead_seconds=-95.0),
        "degraded",
        "This machine's clock is 1 min 35 s ahead of Apple's.",
    ),
    (
        changed("process", last_reload_successful=False),
        "degraded",
        "Changed settings or secrets could not be read",
    ),
    (
        changed("process", last_reload_successful=False, reload_fault="apple.key_id: missing"),
        "degraded",
        "Changed settings or secrets could not be read (apple.key_id: missing). The old ones stay in use",
    ),
    (
        changed("traffic", connections_refused=272),
        "failing",
        "272 connections were refused in the last 5 min: as many are open as the limit on open files allows",
    ),
    (
        changed("process", log_lines_dropped=62),
        "degraded",
        "62 log lines were lost in the last 5 min: requests are answered, but the log has gaps.",
    ),
    (
        changed("process", not_applied=("server.port", "log.level")),
        "note",
        "Changed settings wait for a restart: server.port, log.level.",
    ),
    (
        changed("local", evictions=1_200),
        "note",
        "The in-process cache is full: 1,200 entries were evicted in the last 5 min.",
    ),
    (
        changed("local", evictions=1),
        "note",
        "The in-process cache is full: 1 entry was evicted in the last 5 min.",
    ),
]


@pytest.mark.parametrize(("snapshot", "severity", "what"), CASES, ids=[what[:40] for _, _, what in CASES])
def test_a_condition_is_one_finding_with_severity_and_advice(snapshot, severity, what):
    assert_found(snapshot, severity, what)


def test_every_condition_has_a_case():
    assert untested(process_conditions, CASES) == []
