"""Requests that wait for a fetch: priority, joining, and reports of changes."""

import pytest

from gateway.model import Priority
from gateway.waiters import Requester, Waiters


@pytest.fixture
def first():
    return Requester()


@pytest.fixture
def second():
    return Requester()


@pytest.fixture
def refresh():
    return Requester(Priority.BACKGROUND)


def test_another_request_of_the_same_priority_joins(first, second):
    waiters = Waiters(first)
    waiters.join(second)
    assert waiters.requesters == [first, second]


def test_a_waiting_request_raises_a_background_fetch(first, refresh):
    waiters = Waiters(refresh)
    waiters.join(first)
    assert (waiters.priority, waiters.requesters) == (Priority.FOREGROUND, [first])


def test_a_refresh_does_not_lower_the_priority_of_a_fetch(first, refresh):
    waiters = Waiters(first)
    waiters.join(refresh)
    assert (waiters.priority, waiters.requesters) == (Priority.FOREGROUND, [first])


def test_only_changes_are_reported_and_only_while_watched(first, second, refresh):
    heard: list[str] = []

    def hear() -> None:
        heard.append("change")

    waiters = Waiters(refresh)
    waiters.watch(hear)
    waiters.join(refresh)
    assert heard == []
    waiters.join(first)
    waiters.join(refresh)
    assert heard == ["change"]
    waiters.unwatch(hear)
    waiters.join(second)
    assert heard == ["change"]


def test_a_call_counts_for_each_request_that_waits_for_it(first, second):
    waiters = Waiters(first)
    waiters.count_try()
    waiters.join(second)
    waiters.count_try()
    assert (first.calls, second.calls) == (2, 1)
