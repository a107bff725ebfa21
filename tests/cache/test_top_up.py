import pytest

from gateway.cache.entry import Entry, Freshness
from gateway.cache.lookup import Lookup
from gateway.cache.rides import Rides
from gateway.cache.top_up import MAX_IDS, MOST_JUDGED, due_ids, is_due
from gateway.model import Id

NOW = 10_000.0
FRESHNESS = Freshness(
    fresh_seconds=100, stale_while_revalidate_seconds=10, stale_if_error_seconds=1000, jitter=0
)


def ratings(**fresh_for: float) -> Lookup:
    """Entries by name that are fresh for so many seconds yet."""
    entries = {Id(name): Entry(1, NOW, NOW, NOW + left) for name, left in fresh_for.items()}
    return Lookup(entries=entries, rides=Rides())


def found(cached: Lookup, *asked: str) -> list[Id]:
    return due_ids(cached, {Id(id_) for id_ in asked}, NOW, freshness=FRESHNESS, fresh_seconds=100)


def test_an_id_is_due_when_a_quarter_of_its_freshness_is_left():
    assert found(ratings(past=-1, now=25, early=26)) == ["now", "past"]


def test_the_last_stored_come_first():
    assert found(ratings(a=-500, b=10, c=20)) == ["c", "b", "a"]


def test_ids_that_rode_since_they_were_asked_for_come_last():
    cached = ratings(c=-500, a=10, b=20)
    cached.rides.rode([Id("b")], NOW)
    assert found(cached) == ["a", "c", "b"]


@pytest.mark.parametrize("kept", [MOST_JUDGED, MOST_JUDGED + 1])
def test_of_very_many_only_those_stored_last_are_looked_at(kept):
    fresh = Entry(1, NOW, NOW, NOW + 100)
    later = {Id(str(number)): fresh for number in range(kept - 1)}
    cached = Lookup(entries={Id("due"): Entry(1, NOW, NOW, NOW + 1), **later}, rides=Rides())
    assert found(cached) == (["due"] if kept == MOST_JUDGED else [])


def test_an_id_that_serves_no_more_even_if_apple_fails_is_not_due():
    assert found(ratings(old=-999, too_old=-1000)) == ["old"]


def test_ids_that_are_asked_for_are_left_out():
    assert found(ratings(a=1, b=2), "a") == ["b"]


def test_ids_that_may_not_ride_are_left_out():
    cached = ratings(a=1, b=2)
    cached.rides.failed([Id("a")])
    assert found(cached) == ["b"]


def test_no_more_than_a_call_can_carry_are_offered():
    cached = ratings(**{f"id{number}": number / 100 for number in range(150)})
    assert len(found(cached)) == MAX_IDS


def test_nothing_is_due_of_an_empty_partition():
    assert found(ratings()) == []


def test_a_fresher_entry_of_redis_is_not_due():
    assert not is_due(Entry(1, NOW, NOW, NOW + 26), NOW, 100)
    assert is_due(Entry(1, NOW, NOW, NOW + 25), NOW, 100)
