"""The write rule as a table of what each step makes of each record."""

import pytest

from gateway.cache import write_rule
from gateway.cache.write_rule import (
    ACCEPTED,
    UNCHANGED,
    UNKNOWN,
    Outcome,
    PairedWrite,
    PendingWrite,
    Record,
    StoredRating,
)
from tests import redis_rule

NOW, HOLD, TERM = 1000.0, 10.0, 60.0
OLD = StoredRating(b"old", 900.0)
HELD = StoredRating(b"held", 995.0, 1005.0)
LAPSED = StoredRating(b"lapsed", 980.0, 990.0)
MINE = PendingWrite(7, 1, False, 1050.0)
SHARED = PendingWrite(8, 2, True, 1050.0)
OPEN = PendingWrite(7, 0, False, 1005.0)
OPEN_PAST_A_HOLD = PendingWrite(7, 0, False, 1008.0, HELD)
OVERLAPPED = PendingWrite(7, 0, True, 1005.0)
AFTER_UNKNOWN = PendingWrite(7, 1, False, 1050.0, after_unknown=True)
OVER = PendingWrite(7, 1, False, 1000.0)
OVER_WITHIN_HOLD = PendingWrite(7, 1, False, 1000.0, HELD)
ENDING = PendingWrite(9, 0, False, 1005.0, HELD)
"""A hold after which nothing is left of the written rating."""


def test_a_version_is_more_than_the_last_and_follows_the_clock() -> None:
    assert redis_rule.raised(0, NOW) == 1_000_000_000
    assert redis_rule.raised(5_000_000_000, NOW) == 5_000_000_001


@pytest.mark.parametrize(
    ("record", "after"),
    [
        (None, PendingWrite(9, 1, False, 1060.0)),
        (OLD, PendingWrite(9, 1, False, 1060.0)),
        (HELD, PendingWrite(9, 1, False, 1060.0, HELD)),
        (LAPSED, PendingWrite(9, 1, False, 1060.0)),
        (MINE, PendingWrite(9, 2, True, 1060.0)),
        (SHARED, PendingWrite(9, 3, True, 1060.0)),
        (OPEN, PendingWrite(9, 1, False, 1060.0, after_unknown=True)),
        (OPEN_PAST_A_HOLD, PendingWrite(9, 1, False, 1060.0, HELD, after_unknown=True)),
        (OVERLAPPED, PendingWrite(9, 1, False, 1060.0, after_unknown=True)),
        (AFTER_UNKNOWN, PendingWrite(9, 2, True, 1060.0)),
        (OVER, PendingWrite(9, 1, False, 1060.0)),
        (ENDING, PendingWrite(9, 1, False, 1060.0, HELD)),
    ],
)
def test_a_write_begins(record: Record, after: PendingWrite) -> None:
    assert write_rule.begin(record, 9, NOW, TERM) == after


@pytest.mark.parametrize("record", [MINE, OPEN, OVERLAPPED, OPEN_PAST_A_HOLD])
def test_a_write_with_a_short_term_ends_nothing_that_is_pending_for_longer(record: PendingWrite) -> None:
    assert write_rule.begin(record, 9, NOW, 1.0).until == record.until


def test_a_write_remembers_the_hold_that_stood_through_other_writes() -> None:
    first = write_rule.begin(HELD, 8, NOW, TERM)
    assert write_rule.begin(first, 9, NOW + 1, TERM).held == HELD


@pytest.mark.parametrize(
    ("record", "stamp", "outcome", "after"),
    [
        (MINE, 7, b"new", StoredRating(b"new", NOW, 1010.0)),
        (MINE, 7, None, StoredRating(None, NOW, 1010.0)),
        (MINE, 7, UNCHANGED, None),
        (MINE, 7, UNKNOWN, PendingWrite(9, 0, False, 1010.0)),
        (MINE, 7, ACCEPTED, PendingWrite(9, 0, False, 1010.0)),
        (MINE, 6, b"new", PendingWrite(9, 0, True, 1010.0)),
        (MINE, None, b"new", PendingWrite(9, 0, True, 1010.0)),
        (SHARED, 8, b"new", PendingWrite(9, 1, True, 1050.0)),
        (SHARED, 8, UNCHANGED, PendingWrite(9, 1, True, 1050.0)),
        (AFTER_UNKNOWN, 7, b"new", StoredRating(b"new", NOW, 1010.0)),
        (AFTER_UNKNOWN, 7, UNCHANGED, PendingWrite(9, 0, False, 1010.0)),
        (AFTER_UNKNOWN, 7, UNKNOWN, PendingWrite(9, 0, False, 1010.0)),
        (OPEN, 6, b"new", PendingWrite(9, 0, True, 1010.0)),
        (None, 7, b"new", StoredRating(b"new", NOW, 1010.0)),
        (None, None, b"new", StoredRating(b"new", NOW, 1010.0)),
        (OLD, 7, b"new", StoredRating(b"new", NOW, 1010.0)),
        (OLD, 7, UNCHANGED, None),
        (OVER, 7, b"new", StoredRating(b"new", NOW, 1010.0)),
        (HELD, 7, b"new", PendingWrite(9, 0, True, 1010.0)),
        (HELD, 7, UNCHANGED, PendingWrite(9, 0, True, 1010.0, HELD)),
        (HELD, 7, ACCEPTED, PendingWrite(9, 0, True, 1010.0)),
        (PendingWrite(7, 1, False, 1050.0, HELD), 7, ACCEPTED, PendingWrite(9, 0, False, 1010.0)),
        (PendingWrite(7, 2, True, 1050.0, HELD), 7, ACCEPTED, PendingWrite(9, 1, True, 1050.0)),
        (PendingWrite(7, 1, False, 1050.0, HELD), 7, UNCHANGED, ENDING),
        (PendingWrite(7, 1, False, 1050.0, HELD), 7, b"new", StoredRating(b"new", NOW, 1010.0)),
    ],
)
def test_a_write_ends(record: Record, stamp: int | None, outcome: Outcome, after: Record) -> None:
    assert write_rule.end(record, stamp, outcome, version=9, now=NOW, hold=HOLD) == after


@pytest.mark.parametrize("outcome", [UNCHANGED, UNKNOWN])
def test_a_write_that_may_have_done_nothing_leaves_the_hold_that_stood(outcome: Outcome) -> None:
    begun = write_rule.begin(HELD, 8, NOW, TERM)
    ended = write_rule.end(begun, 8, outcome, version=9, now=NOW + 1, hold=HOLD)
    assert write_rule.held(ended, NOW + 4.75) == HELD
    assert write_rule.held(ended, NOW + 5) is None


def test_a_refused_write_leaves_nothing_of_the_rating_before_it_past_its_hold() -> None:
    begun = write_rule.begin(HELD, 8, NOW, TERM)
    ended = write_rule.end(begun, 8, UNCHANGED, version=9, now=NOW, hold=HOLD)
    assert write_rule.standing(ended, NOW + 4.75) == ENDING
    assert write_rule.standing(ended, NOW + 5) is None


@pytest.mark.parametrize("record", [OPEN, OVERLAPPED, OPEN_PAST_A_HOLD])
@pytest.mark.parametrize("times", [1, 2])
def test_after_an_unknown_rating_refused_writes_leave_it_unknown(record: Record, times: int) -> None:
    held = write_rule.held(record, NOW)
    for stamp in range(8, 8 + times):
        begun = write_rule.begin(record, stamp, NOW + 1, TERM)
        record = write_rule.end(begun, stamp, UNCHANGED, version=stamp, now=NOW + 2, hold=HOLD)
        assert not write_rule.fillable(record, NOW + 11.75)
        assert write_rule.held(record, NOW + 4.75) == held
        assert write_rule.fillable(record, NOW + 12)


def test_refused_writes_after_a_held_rating_leave_nothing_past_its_hold() -> None:
    record: Record = HELD
    for stamp in (8, 9):
        begun = write_rule.begin(record, stamp, NOW, TERM)
        record = write_rule.end(begun, stamp, UNCHANGED, version=stamp, now=NOW + 1, hold=HOLD)
    assert record == ENDING


def test_a_contested_write_with_a_value_ends_the_hold_that_stood() -> None:
    begun = write_rule.begin(write_rule.begin(HELD, 8, NOW, TERM), 9, NOW, TERM)
    ended = write_rule.end(begun, 8, b"new", version=10, now=NOW, hold=HOLD)
    assert write_rule.held(ended, NOW) is None


@pytest.mark.parametrize(
    ("record", "fillable"),
    [(None, True), (OLD, True), (LAPSED, True), (OVER, True), (HELD, False), (MINE, False), (OPEN, False)],
)
def test_a_fill_may_replace_an_entry_without_pending_or_held_write(record: Record, fillable: bool) -> None:
    assert write_rule.fillable(record, NOW) is fillable


@pytest.mark.parametrize(
    ("record", "after"),
    [(None, None), (OLD, None), (OVER, None), (LAPSED, None), (HELD, ENDING), (ENDING, ENDING), (MINE, MINE)],
)
def test_a_purge_leaves_pending_writes_and_holds(record: Record, after: Record) -> None:
    assert redis_rule.purged(record, 9, NOW) == after


def test_a_purge_leaves_nothing_past_the_hold() -> None:
    purged = redis_rule.purged(HELD, 9, NOW)
    assert write_rule.held(purged, NOW + 4.75) == HELD
    assert write_rule.standing(purged, NOW + 5) is None
    assert isinstance(purged, PendingWrite)
    assert write_rule.cap(None, purged, NOW) == 5.0


@pytest.mark.parametrize(
    ("record", "ended", "after"),
    [
        (None, 0, PendingWrite(9, 0, False, 1010.0)),
        (HELD, 0, PendingWrite(9, 0, False, 1010.0)),
        (MINE, 0, PendingWrite(9, 1, True, 1050.0)),
        (MINE, 1, PendingWrite(9, 0, False, 1010.0)),
        (SHARED, 1, PendingWrite(9, 1, True, 1050.0)),
        (OVER, 0, PendingWrite(9, 0, False, 1010.0)),
    ],
)
def test_a_write_delivered_late_leaves_the_rating_unknown(record: Record, ended: int, after: Record) -> None:
    assert redis_rule.replayed(record, ended, version=9, now=NOW, hold=HOLD) == after


@pytest.mark.parametrize(
    ("rated", "cap"),
    [
        (StoredRating(None, 990.0), 0.0),
        (StoredRating(None, 995.0), 0.0),
        (StoredRating(None, 995.25), 5.0),
        (StoredRating(None, 1005.0), None),
        (StoredRating(None, 990.0, 1008.0), 8.0),
        (StoredRating(None, 996.0, 1001.0), 5.0),
        (StoredRating(None, 990.0, 999.0), 0.0),
    ],
)
def test_a_paired_write_caps_ratings_fetched_before_its_end(rated: StoredRating, cap: float | None) -> None:
    paired = PairedWrite(7, 995.0, 1005.0)
    assert write_rule.cap(paired, rated, NOW) == cap


def test_without_a_paired_write_nothing_is_capped() -> None:
    assert write_rule.cap(None, OLD, NOW) is None


@pytest.mark.parametrize("paired", [None, PairedWrite(7, 994.0, 1004.0)])
def test_a_rating_that_a_later_write_may_have_replaced_ends_with_its_hold(
    paired: PairedWrite | None,
) -> None:
    later = write_rule.end(write_rule.begin(HELD, 9, NOW, TERM), 9, UNKNOWN, version=10, now=NOW, hold=HOLD)
    assert isinstance(later, PendingWrite)
    assert write_rule.cap(paired, later, NOW) == 5.0


def test_a_rating_fetched_within_an_ended_paired_write_is_not_served_without_asking() -> None:
    cap = write_rule.cap(PairedWrite(7, 985.0, 995.0), StoredRating(None, 990.0), NOW)
    assert cap is not None
    assert cap <= 0


def test_a_write_that_never_ended_does_not_bring_back_what_was_held_before_it() -> None:
    assert write_rule.standing(PendingWrite(7, 0, False, NOW, LAPSED), NOW) is None
    assert write_rule.standing(OVER_WITHIN_HOLD, NOW) == PendingWrite(7, 0, False, 1005.0, HELD)
    assert write_rule.standing(OVER_WITHIN_HOLD, NOW + 5) is None


@pytest.mark.parametrize(
    ("record", "after"),
    [
        (None, None),
        (OLD, None),
        (HELD, None),
        (OPEN, None),
        (OVER, None),
        (MINE, PendingWrite(9, 1, True, 1050.0)),
        (SHARED, PendingWrite(9, 2, True, 1050.0)),
        (PendingWrite(7, 1, False, 1050.0, HELD), PendingWrite(9, 1, True, 1050.0)),
    ],
)
def test_another_gateways_write_leaves_no_more_than_our_own_under_way(record: Record, after: Record) -> None:
    assert write_rule.overtaken(record, 9, NOW) == after


def test_a_write_on_the_paired_type_whose_delay_is_over_leaves_no_seconds() -> None:
    assert write_rule.fetched_cap(write_rule.PairedWrite(1, at=10.0, until=20.0), 15.0, 30.0) == 0.0
