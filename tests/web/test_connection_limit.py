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
    assert [limit.admit(name, now=0) for name in ("a", "b")] == [True, True]
    assert log.calls == []
    assert not limit.admit("c", now=0)


def test_a_connection_that_is_lost_makes_room_for_one(limit):
    for name in ("a", "b"):
        limit.admit(name, now=0)
    for _ in range(2):
        limit.release("a")
    assert [limit.admit(name, now=0) for name in ("c", "d")] == [True, False]


def test_the_loss_of_a_refused_connection_makes_no_room(limit):
    assert [limit.admit(name, now=0) for name in ("a", "b", "c")] == [True, True, False]
    limit.release("c")
    assert not limit.admit("d", now=0)


def test_refusals_are_logged_once_a_minute_with_their_number(limit, log):
    for name in ("a", "b"):
        limit.admit(name, now=0)
    for now in (100, 100, 101, 100 + LOG_SECONDS):
        assert not limit.admit("c", now)
    assert [(call.args[0], call.kwargs["refused"]) for call in log.calls] == [
        ("connections_refused", 1),
        ("connections_refused", 3),
    ]
