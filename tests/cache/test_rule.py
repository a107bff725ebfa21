"""The write rule as a table of what each step makes of each cell."""

import pytest

from gateway.cache import rule
from gateway.cache.rule import UNCHANGED, UNKNOWN, Cell, Mark, Outcome, Rated, Unsettled

NOW, HOLD, TERM = 1000.0, 10.0, 60.0
OLD = Rated(b"old", 900.0)
HELD = Rated(b"held", 995.0, 1005.0)
LAPSED = Rated(b"lapsed", 980.0, 990.0)
MINE = Unsettled(7, 1, False, 1050.0)
SHARED = Unsettled(8, 2, True, 1050.0)
OPEN = Unsettled(7, 0, False, 1005.0)
OVER = Unsettled(7, 1, False, 1000.0)


def test_a_version_is_more_than_the_last_and_follows_the_clock() -> None:
    assert rule.raised(0, NOW) == 1_000_000_000
    assert rule.raised(5_000_000_000, NOW) == 5_000_000_001


@pytest.mark.parametrize(
    ("cell", "after"),
    [
        (None, Unsettled(9, 1, False, 1060.0)),
        (OLD, Unsettled(9, 1, False, 1060.0)),
        (HELD, Unsettled(9, 1, False, 1060.0, HELD)),
        (LAPSED, Unsettled(9, 1, False, 1060.0)),
        (MINE, Unsettled(9, 2, True, 1060.0)),
        (SHARED, Unsettled(9, 3, True, 1060.0)),
        (OPEN, Unsettled(9, 1, False, 1060.0)),
        (OVER, Unsettled(9, 1, False, 1060.0)),
    ],
)
def test_a_write_begins(cell: Cell, after: Unsettled) -> None:
    assert rule.begin(cell, 9, NOW, TERM) == after


def test_a_write_remembers_the_hold_that_stood_through_other_writes() -> None:
    first = rule.begin(HELD, 8, NOW, TERM)
    assert rule.begin(first, 9, NOW + 1, TERM).held == HELD


@pytest.mark.parametrize(
    ("cell", "stamp", "outcome", "after"),
    [
        (MINE, 7, b"new", Rated(b"new", NOW, 1010.0)),
        (MINE, 7, None, Rated(None, NOW, 1010.0)),
        (MINE, 7, UNCHANGED, None),
        (MINE, 7, UNKNOWN, Unsettled(9, 0, False, 1010.0)),
        (MINE, 6, b"new", Unsettled(9, 0, True, 1010.0)),
        (MINE, None, b"new", Unsettled(9, 0, True, 1010.0)),
        (SHARED, 8, b"new", Unsettled(9, 1, True, 1050.0)),
        (SHARED, 8, UNCHANGED, Unsettled(9, 1, True, 1050.0)),
        (OPEN, 6, b"new", Unsettled(9, 0, True, 1010.0)),
        (None, 7, b"new", Rated(b"new", NOW, 1010.0)),
        (None, None, b"new", Rated(b"new", NOW, 1010.0)),
        (OLD, 7, b"new", Rated(b"new", NOW, 1010.0)),
        (OLD, 7, UNCHANGED, None),
        (OVER, 7, b"new", Rated(b"new", NOW, 1010.0)),
        (HELD, 7, b"new", Unsettled(9, 0, True, 1010.0)),
        (HELD, 7, UNCHANGED, Unsettled(9, 0, True, 1010.0, HELD)),
    ],
)
def test_a_write_ends(cell: Cell, stamp: int | None, outcome: Outcome, after: Cell) -> None:
    assert rule.end(cell, stamp, outcome, version=9, now=NOW, hold=HOLD) == after


@pytest.mark.parametrize("outcome", [UNCHANGED, UNKNOWN])
def test_a_write_without_a_value_leaves_the_hold_that_stood(outcome: Outcome) -> None:
    begun = rule.begin(HELD, 8, NOW, TERM)
    ended = rule.end(begun, 8, outcome, version=9, now=NOW + 1, hold=HOLD)
    assert rule.held(ended, NOW + 4.75) == HELD
    assert rule.held(ended, NOW + 5) is None


def test_a_contested_write_with_a_value_ends_the_hold_that_stood() -> None:
    begun = rule.begin(rule.begin(HELD, 8, NOW, TERM), 9, NOW, TERM)
    ended = rule.end(begun, 8, b"new", version=10, now=NOW, hold=HOLD)
    assert rule.held(ended, NOW) is None


@pytest.mark.parametrize(
    ("cell", "fillable"),
    [(None, True), (OLD, True), (LAPSED, True), (OVER, True), (HELD, False), (MINE, False), (OPEN, False)],
)
def test_a_fill_may_replace_what_no_write_stands_in(cell: Cell, fillable: bool) -> None:
    assert rule.fillable(cell, NOW) is fillable


@pytest.mark.parametrize(
    ("cell", "after"), [(None, None), (OLD, None), (OVER, None), (HELD, HELD), (MINE, MINE)]
)
def test_a_purge_leaves_what_writes_are_promised(cell: Cell, after: Cell) -> None:
    assert rule.purged(cell, NOW) == after


@pytest.mark.parametrize(
    ("cell", "ended", "after"),
    [
        (None, 0, Unsettled(9, 0, False, 1010.0)),
        (HELD, 0, Unsettled(9, 0, False, 1010.0)),
        (MINE, 0, Unsettled(9, 1, True, 1050.0)),
        (MINE, 1, Unsettled(9, 0, False, 1010.0)),
        (SHARED, 1, Unsettled(9, 1, True, 1050.0)),
        (OVER, 0, Unsettled(9, 0, False, 1010.0)),
    ],
)
def test_a_write_heard_of_late_leaves_the_rating_open(cell: Cell, ended: int, after: Cell) -> None:
    assert rule.forgotten(cell, ended, version=9, now=NOW, hold=HOLD) == after


@pytest.mark.parametrize(
    ("rated", "cap"),
    [
        (Rated(None, 990.0), 0.0),
        (Rated(None, 995.0), 0.0),
        (Rated(None, 995.25), 5.0),
        (Rated(None, 1005.0), None),
        (Rated(None, 990.0, 1008.0), 8.0),
        (Rated(None, 996.0, 1001.0), 5.0),
        (Rated(None, 990.0, 999.0), 0.0),
    ],
)
def test_a_mark_caps_what_was_fetched_before_its_end(rated: Rated, cap: float | None) -> None:
    mark = Mark(7, 995.0, 1005.0)
    assert rule.cap(mark, rated, NOW) == cap


def test_without_a_mark_nothing_is_capped() -> None:
    assert rule.cap(None, OLD, NOW) is None


@pytest.mark.parametrize("mark", [None, Mark(7, 994.0, 1004.0)])
def test_what_a_later_write_may_have_replaced_is_served_no_longer_than_its_hold(mark: Mark | None) -> None:
    later = rule.end(rule.begin(HELD, 9, NOW, TERM), 9, UNKNOWN, version=10, now=NOW, hold=HOLD)
    assert isinstance(later, Unsettled)
    assert rule.cap(mark, later, NOW) == 5.0


def test_what_was_fetched_within_a_mark_that_has_ended_asks_at_once() -> None:
    cap = rule.cap(Mark(7, 985.0, 995.0), Rated(None, 990.0), NOW)
    assert cap is not None
    assert cap <= 0


def test_a_write_that_never_ended_does_not_bring_back_what_was_held_before_it() -> None:
    assert rule.standing(Unsettled(7, 0, False, NOW, LAPSED), NOW) is None
    assert rule.standing(Unsettled(7, 1, False, NOW, HELD), NOW) == HELD


@pytest.mark.parametrize(
    ("cell", "after"),
    [
        (None, None),
        (OLD, None),
        (HELD, None),
        (OPEN, None),
        (OVER, None),
        (MINE, Unsettled(9, 1, True, 1050.0)),
        (SHARED, Unsettled(9, 2, True, 1050.0)),
        (Unsettled(7, 1, False, 1050.0, HELD), Unsettled(9, 1, True, 1050.0)),
    ],
)
def test_another_gateways_write_leaves_no_more_than_our_own_under_way(cell: Cell, after: Cell) -> None:
    assert rule.overtaken(cell, 9, NOW) == after
