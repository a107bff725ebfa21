"""Which writes are recent, and which of them another gateway's write has overtaken."""

import pytest

from gateway.cache.redis.recent_writes import MAX_RECENT, MAX_SENT, OwnWrite, RecentWrites, Replaced, is_later
from gateway.cache.write_rule import UNCHANGED, UNKNOWN, Outcome, PendingWrite, Record, StoredRating
from gateway.model import Id, Kind

HERE = (b"user", Kind.ALBUMS)
ONE, TWO = Id("1"), Id("2")
NOW = 1000.0
"""By Redis' clock; the event loop's is 100 then."""
OWN = OwnWrite(begun=97.0, ended=98.0, outcome=1)
SINCE, BEFORE = 997.5, 996.5
"""Moments of Redis' clock when the own write had begun, and had not."""


def held(rating: int, at: float) -> StoredRating:
    return StoredRating(rating, at, at + 10.0)


def pending(
    at: float,
    *,
    writers: int = 0,
    contested: bool = False,
    before: StoredRating | None = None,
    after_unknown: bool = False,
) -> PendingWrite:
    until = NOW + 5.0 if before is None else before.held_until or NOW
    return PendingWrite(round(at * 1_000_000), writers, contested, until, before, after_unknown)


@pytest.mark.parametrize(
    ("record", "later"),
    [
        (None, False),
        (StoredRating(-1, SINCE), False),
        (held(-1, SINCE), True),
        (held(-1, BEFORE), False),
        (held(1, SINCE), False),
        (held(-1, NOW - 20.0), False),
        (pending(SINCE), True),
        (pending(BEFORE), False),
        (pending(SINCE, writers=1), False),
        (pending(SINCE, writers=1, after_unknown=True), True),
        (pending(BEFORE, writers=1, after_unknown=True), False),
        (pending(SINCE, writers=1, before=held(-1, SINCE)), True),
        (pending(SINCE, writers=1, before=held(-1, BEFORE)), False),
        (pending(SINCE, writers=1, contested=True), True),
        (pending(SINCE, writers=2, contested=True), False),
        (pending(SINCE, writers=3, contested=True), True),
        (pending(SINCE, before=held(-1, BEFORE)), False),
        (pending(SINCE, before=held(-1, SINCE)), True),
        (pending(SINCE, contested=True, before=held(1, SINCE)), True),
    ],
)
def test_a_record_shows_a_later_write(record: Record, later: bool) -> None:
    assert is_later(Replaced(record, NOW), OWN, 100.0, ended=2, own_marker=False, own_hold=False) is later


def test_a_marker_that_may_be_the_own_one_shows_no_later_write() -> None:
    for marker in (pending(SINCE), pending(SINCE, writers=1, after_unknown=True)):
        assert not is_later(Replaced(marker, NOW), OWN, 100.0, ended=1, own_marker=True, own_hold=False)


def test_a_hold_that_may_be_an_earlier_own_one_shows_no_later_write() -> None:
    for record in (held(-1, SINCE), pending(SINCE, writers=1, before=held(-1, SINCE))):
        assert not is_later(Replaced(record, NOW), OWN, 100.0, ended=1, own_marker=False, own_hold=True)


def test_a_write_that_is_no_longer_remembered_may_be_the_earlier_one() -> None:
    assert is_later(Replaced(held(-1, BEFORE), NOW), None, 100.0, ended=1, own_marker=False, own_hold=False)


def overtaken(recent: RecentWrites, at: float, *, rating: int = -1, sent: float = 99.5) -> tuple[Id, ...]:
    replaced = {ONE: Replaced(held(rating, at), NOW)}
    return recent.written_elsewhere_since(HERE, replaced, {ONE: 1}, lambda *_: False, sent=sent, now=100.0)


def written_twice() -> RecentWrites:
    """The earlier write, with -1, ended at 97.99, and the later one, with 1, began at 98."""
    recent = RecentWrites(seconds=10.0)
    recent.end(HERE, ONE, -1, 97.99)
    recent.begin(HERE, ONE, 98.0)
    recent.end(HERE, ONE, 1, 98.1)
    return recent


def test_an_end_that_was_not_acknowledged_may_store_its_rating_late() -> None:
    recent = written_twice()
    assert overtaken(recent, 999.9) == (ONE,)
    recent.note_sent(HERE, ONE, -1)
    assert overtaken(recent, 999.9) == ()
    assert overtaken(recent, 999.9, rating=5) == (ONE,)


def test_a_rating_that_was_stored_before_is_the_own_one_only_if_it_is_old_enough() -> None:
    recent = written_twice()
    recent.note_stored(HERE, ONE, -1, 97.99)
    assert overtaken(recent, 998.4) == ()
    assert overtaken(recent, 998.6) == (ONE,)
    assert overtaken(recent, 998.4, rating=5) == (ONE,)


def test_an_end_stores_nothing_after_a_later_one_or_a_replay() -> None:
    recent = written_twice()
    recent.note_sent(HERE, ONE, -1)
    recent.note_stored(HERE, ONE, 1, 98.1)
    assert overtaken(recent, 999.9) == (ONE,)
    recent.note_sent(HERE, ONE, -1)
    recent.note_replayed(HERE, [ONE])
    assert overtaken(recent, 999.9) == (ONE,)


def test_of_ratings_that_may_be_stored_only_the_latest_are_remembered() -> None:
    recent = written_twice()
    for rating in range(2, MAX_SENT + 3):
        recent.note_sent(HERE, ONE, rating)
    assert overtaken(recent, 999.9, rating=2) == (ONE,)
    assert overtaken(recent, 999.9, rating=3) == ()


@pytest.mark.parametrize("outcome", [UNCHANGED, UNKNOWN])
def test_a_write_that_left_no_rating_leaves_the_one_before_to_be_overtaken(outcome: Outcome) -> None:
    recent = RecentWrites(seconds=10.0)
    recent.begin(HERE, ONE, 95.0)
    recent.end(HERE, ONE, 1, 96.0)
    recent.begin(HERE, ONE, 98.0)
    assert recent.end(HERE, ONE, outcome, 99.0) is False
    assert overtaken(recent, 997.0) == (ONE,)


@pytest.mark.parametrize(("outcome", "left_to_it"), [(UNCHANGED, True), (UNKNOWN, True), (1, False)])
def test_a_write_under_way_is_not_overtaken_by_one_that_overtook_the_write_before(
    outcome: Outcome, left_to_it: bool
) -> None:
    recent = RecentWrites(seconds=10.0)
    recent.begin(HERE, ONE, 95.0)
    recent.end(HERE, ONE, 1, 96.0)
    recent.begin(HERE, ONE, 98.0)
    assert overtaken(recent, 997.0) == ()
    assert recent.end(HERE, ONE, outcome, 99.0) is left_to_it


def test_a_write_under_way_is_overtaken_by_one_that_ended_since_it_began() -> None:
    recent = RecentWrites(seconds=10.0)
    recent.begin(HERE, ONE, 98.0)
    assert overtaken(recent, 999.0) == (ONE,)


def test_recent_writes_are_forgotten_with_time() -> None:
    recent = RecentWrites(seconds=10.0)
    recent.end(HERE, ONE, 1, 0.0)
    recent.end(HERE, TWO, 1, 1.0)
    recent.end(HERE, ONE, 1, 5.0)
    assert recent.ids(10.9) == [(HERE, TWO), (HERE, ONE)]
    assert recent.ids(11.0) == [(HERE, ONE)]
    assert recent.ids(15.0) == []


def test_the_oldest_of_too_many_recent_writes_are_forgotten() -> None:
    recent = RecentWrites(seconds=10.0)
    for number in range(MAX_RECENT + 2):
        recent.end(HERE, Id(str(number)), 1, 0.0)
    assert recent.ids(0.0) == [(HERE, Id(str(number))) for number in range(2, MAX_RECENT + 2)]
