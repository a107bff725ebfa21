"""Who wants a fetch, how urgently, and who hears of it."""

import pytest

from gateway.model import Priority
from gateway.waiters import Requester, Waiters


@pytest.fixture
def first():
    return Requester()


@pytest.fixture
def second():
    return Requester()


def test_another_party_of_the_same_lane_joins(first, second):
    demand = Waiters(Priority.FOREGROUND, first)
    demand.join(Priority.FOREGROUND, second)
    assert demand.requesters == [first, second]


def test_somebody_who_waits_raises_a_background_fetch(first, second):
    demand = Waiters(Priority.BACKGROUND, first)
    demand.join(Priority.FOREGROUND, second)
    assert (demand.priority, demand.requesters) == (Priority.FOREGROUND, [second])


def test_a_refresh_does_not_lower_what_somebody_waits_for(first, second):
    demand = Waiters(Priority.FOREGROUND, first)
    demand.join(Priority.BACKGROUND, second)
    assert (demand.priority, demand.requesters) == (Priority.FOREGROUND, [first])


def test_only_changes_are_told_and_only_while_watched(first, second):
    heard: list[str] = []

    def hear() -> None:
        heard.append("change")

    demand = Waiters(Priority.BACKGROUND, first)
    demand.watch(hear)
    demand.join(Priority.BACKGROUND, first)
    assert heard == []
    demand.join(Priority.FOREGROUND, second)
    demand.join(Priority.BACKGROUND, first)
    assert heard == ["change"]
    demand.unwatch(hear)
    demand.join(Priority.FOREGROUND, first)
    assert heard == ["change"]


def test_a_call_counts_for_everybody_who_wants_it(first, second):
    demand = Waiters(Priority.FOREGROUND, first)
    demand.count_call()
    demand.join(Priority.FOREGROUND, second)
    demand.count_call()
    assert (first.calls, second.calls) == (2, 1)
