"""Which writes are recent, and which of them another gateway's write has overtaken."""

import pytest

from gateway.cache.redis.recent_writes import MAX_RECENT, OwnWrite, RecentWrites, Replaced, is_later
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
    at: float, *, writers: int = 0, contested: bool = False, before: StoredRating | None = None
) -> PendingWrite:
    until = NOW + 5.0 if before is None else before.held_until or NOW
    return PendingWrite(round(at * 1_000_000), writers, contested, until, before)


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
    assert is_later(Replaced(record, NOW), OWN, 100.0, ended=2, own_marker=False) is later


def test_a_marker_that_may_be_the_own_one_shows_no_later_write() -> None:
    assert not is_later(Replaced(pending(SINCE), NOW), OWN, 100.0, ended=1, own_marker=True)


def test_a_write_that_is_no_longer_remembered_may_be_the_earlier_one() -> None:
    assert is_later(Replaced(held(-1, BEFORE), NOW), None, 100.0, ended=1, own_marker=False)


def overtaken(recent: RecentWrites, at: float) -> tuple[Id, ...]:
    replaced = {ONE: Replaced(held(-1, at), NOW)}
    return recent.written_elsewhere_since(HERE, replaced, {ONE: 1}, lambda *_: False, now=100.0)


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
