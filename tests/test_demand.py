"""Who wants a fetch, how urgently, and who hears of it."""

import pytest

from gateway.demand import Demand, Party
from gateway.model import Lane


@pytest.fixture
def first():
    return Party()


@pytest.fixture
def second():
    return Party()


def test_another_party_of_the_same_lane_joins(first, second):
    demand = Demand(Lane.FOREGROUND, first)
    demand.join(Lane.FOREGROUND, second)
    assert demand.parties == [first, second]


def test_somebody_who_waits_raises_a_background_fetch(first, second):
    demand = Demand(Lane.BACKGROUND, first)
    demand.join(Lane.FOREGROUND, second)
    assert (demand.lane, demand.parties) == (Lane.FOREGROUND, [second])


def test_a_refresh_does_not_lower_what_somebody_waits_for(first, second):
    demand = Demand(Lane.FOREGROUND, first)
    demand.join(Lane.BACKGROUND, second)
    assert (demand.lane, demand.parties) == (Lane.FOREGROUND, [first])


def test_only_changes_are_told_and_only_while_watched(first, second):
    heard: list[str] = []

    def hear() -> None:
        heard.append("change")

    demand = Demand(Lane.BACKGROUND, first)
    demand.watch(hear)
    demand.join(Lane.BACKGROUND, first)
    assert heard == []
    demand.join(Lane.FOREGROUND, second)
    demand.join(Lane.BACKGROUND, first)
    assert heard == ["change"]
    demand.unwatch(hear)
    demand.join(Lane.FOREGROUND, first)
    assert heard == ["change"]


def test_a_call_counts_for_everybody_who_wants_it(first, second):
    demand = Demand(Lane.FOREGROUND, first)
    demand.count_call()
    demand.join(Lane.FOREGROUND, second)
    demand.count_call()
    assert (first.calls, second.calls) == (2, 1)
