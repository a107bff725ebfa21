"""How many connections are admitted, and how often refusals are logged."""

import pytest
from structlog.testing import CapturingLogger

from gateway.web.connection_limit import LOG_SECONDS, ConnectionLimit


@pytest.fixture
def log() -> CapturingLogger:
    return CapturingLogger()


@pytest.fixture
def limit(log) -> ConnectionLimit:
    return ConnectionLimit(2, log)


def test_connections_up_to_the_limit_are_admitted(limit, log):
    assert limit.admits(2, now=0)
    assert log.calls == []


def test_refusals_are_logged_once_a_minute_with_their_number(limit, log):
    for now in (100, 100, 101, 100 + LOG_SECONDS):
        assert not limit.admits(3, now)
    assert [(call.args[0], call.kwargs["refused"]) for call in log.calls] == [
        ("connections_refused", 1),
        ("connections_refused", 3),
    ]
