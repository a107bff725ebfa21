"""How many connections are admitted, and how refusals are counted and logged."""

from collections.abc import Callable

import pytest
from structlog.testing import CapturingLogger

from gateway.telemetry.metrics import Metrics
from gateway.web.connection_limit import LOG_SECONDS, ConnectionLimit


class Timers:
    """Timers that end when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[float, Callable[[], object]]] = []

    def call_later(self, seconds: float, callback: Callable[[], object]) -> None:
        self.waiting.append((seconds, callback))

    def end(self) -> None:
        """Let the only timer end."""
        [(seconds, callback)] = self.waiting
        assert seconds == LOG_SECONDS
        self.waiting.clear()
        callback()


@pytest.fixture
def log() -> CapturingLogger:
    return CapturingLogger()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def timers() -> Timers:
    return Timers()


@pytest.fixture
def limit(log, metrics, timers) -> ConnectionLimit:
    return ConnectionLimit(2, log, metrics, timers.call_later)


def logged(log: CapturingLogger) -> list[int]:
    assert {call.args[0] for call in log.calls} <= {"connections_refused"}
    return [call.kwargs["refused"] for call in log.calls]


def test_connections_up_to_the_limit_are_admitted(limit, log):
    assert [limit.admit(name) for name in ("a", "b")] == [True, True]
    assert log.calls == []
    assert not limit.admit("c")


def test_a_connection_that_is_lost_makes_room_for_one(limit):
    for name in ("a", "b"):
        limit.admit(name)
    for _ in range(2):
        limit.release("a")
    assert [limit.admit(name) for name in ("c", "d")] == [True, False]


def test_the_loss_of_a_refused_connection_makes_no_room(limit):
    assert [limit.admit(name) for name in ("a", "b", "c")] == [True, True, False]
    limit.release("c")
    assert not limit.admit("d")


def test_every_refusal_is_counted(limit, metrics):
    for name in range(7):
        limit.admit(name)
    assert metrics.registry.get_sample_value("gateway_connections_refused_total") == 5


def test_the_first_refusal_is_logged_at_once_and_the_others_when_the_minute_ends(limit, log, timers):
    for name in range(7):
        limit.admit(name)
    assert logged(log) == [1]
    timers.end()
    assert logged(log) == [1, 4]


def test_a_minute_without_refusals_ends_without_a_line(limit, log, timers):
    for name in range(3):
        limit.admit(name)
    timers.end()
    assert logged(log) == [1]
    assert timers.waiting == []
    limit.admit("later")
    assert logged(log) == [1, 1]


def test_what_is_not_logged_yet_is_logged_when_the_listener_closes(limit, log, timers):
    limit.report()
    assert logged(log) == []
    for name in range(7):
        limit.admit(name)
    limit.report()
    limit.report()
    assert logged(log) == [1, 4]
