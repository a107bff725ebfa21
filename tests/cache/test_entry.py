from typing import Any

import pytest

from gateway.cache.entry import (
    ENTRY_BYTES,
    SLOT_BYTES,
    Entry,
    Freshness,
    Usability,
    all_expired,
    bytes_per_id,
    expired,
)
from gateway.model import Id, Kind, User

POLICY = Freshness(
    fresh_seconds=300, stale_while_revalidate_seconds=60, stale_if_error_seconds=1000, jitter=0
)
ALWAYS = float("-inf")


def entry(now: float, **more: Any) -> Entry:
    return POLICY.entry(None, now, fresh_seconds=300, **more)


def judged(entry: Entry, now: float, trusted_since: float = ALWAYS) -> Usability:
    return POLICY.usability(entry, now, trusted_since)


def test_an_entry_goes_from_fresh_over_stale_to_gone():
    made = entry(1000.0)
    at = [1000, 1299.9, 1300, 1359.9, 1360, 2299.9, 2300]
    assert [judged(made, now).name for now in at] == [
        "FRESH",
        "FRESH",
        "REVALIDATE",
        "REVALIDATE",
        "IF_ERROR",
        "IF_ERROR",
        "GONE",
    ]


def test_the_age_on_arrival_counts():
    made = entry(1000.0, age=299.0)
    assert (made.fetched_at, made.trusted_at) == (701.0, 1000.0)
    assert judged(made, 1001.0) is Usability.REVALIDATE


def test_an_entry_that_arrives_stale_stays_stale():
    assert judged(entry(1000.0, age=400.0), 1000.0) is Usability.IF_ERROR
    assert judged(entry(1000.0, age=1300.0), 1000.0) is Usability.GONE


def test_jitter_shortens_by_at_most_its_fraction_and_depends_on_user_and_type_alone():
    jittered = Freshness(
        fresh_seconds=100, stale_while_revalidate_seconds=0, stale_if_error_seconds=0, jitter=0.1
    )
    users = [User.of(str(number)).key for number in range(1000)]
    seconds = {jittered.fresh_seconds_of(user, Kind.ALBUMS) for user in users}
    assert 90 < min(seconds) < 91
    assert 99 < max(seconds) <= 100
    assert jittered.fresh_seconds_of(users[0], Kind.ALBUMS) != jittered.fresh_seconds_of(users[0], Kind.SONGS)


def test_jitter_is_the_same_on_every_gateway():
    jittered = Freshness(
        fresh_seconds=100, stale_while_revalidate_seconds=0, stale_if_error_seconds=0, jitter=0.1
    )
    assert jittered.fresh_seconds_of(bytes(range(16)), Kind.ALBUMS) == pytest.approx(96.49560497608036)


def test_an_entry_that_may_not_be_served_without_asking_is_not_served_by_max_stale_either():
    long_stale = entry(1000.0, age=400.0, cap=0.0)
    assert long_stale.ask_when_stale


def test_entries_that_expire_together_stay_shared():
    shared, other = entry(0.0), entry(1.0)
    expired_ones = all_expired({Id("1"): shared, Id("2"): other, Id("3"): shared}, 5.0)
    assert expired_ones[Id("1")] is expired_ones[Id("3")]
    assert [each.fresh_until for each in expired_ones.values()] == [5.0, 5.0, 5.0]
    assert expired_ones[Id("2")].fetched_at == other.fetched_at


def test_ids_that_share_an_entry_divide_its_size():
    assert entry(0.0).bytes_per_id == SLOT_BYTES + ENTRY_BYTES
    assert bytes_per_id(1, 100) == SLOT_BYTES + 2


def test_an_expired_entry_serves_only_if_apple_fails():
    assert judged(expired(entry(1000.0), 1001.0), 1001.0) is Usability.IF_ERROR


def test_an_entry_that_expires_again_keeps_its_earlier_end():
    assert expired(entry(0.0), 1000.0).fresh_until == 300.0


def test_past_a_cap_it_serves_only_if_apple_fails():
    made = entry(1000.0, cap=10)
    assert judged(made, 1009.9) is Usability.FRESH
    assert judged(made, 1010.0) is Usability.IF_ERROR


def test_an_entry_stale_before_its_cap_is_not_served_without_asking():
    made = entry(1000.0, age=310.0, cap=0.0)
    assert made.fresh_until == 990.0
    assert judged(made, 1000.0) is Usability.IF_ERROR


def test_a_cap_within_revalidation_ends_it():
    assert judged(entry(1000.0, cap=330), 1340.0) is Usability.IF_ERROR


def test_a_cap_beyond_freshness_changes_nothing():
    capped, free = entry(0.0, cap=1000), entry(0.0)
    assert (capped.fresh_until, capped.ask_when_stale) == (free.fresh_until, free.ask_when_stale)


def test_a_hold_outlasts_a_shorter_freshness():
    assert judged(entry(0.0, held_seconds=400), 350) is Usability.FRESH


def test_an_entry_from_before_a_lost_invalidation_serves_only_if_apple_fails():
    made = entry(1000.0)
    assert judged(made, 1001, trusted_since=1000.0) is Usability.FRESH
    assert judged(made, 1001, trusted_since=1000.1) is Usability.IF_ERROR


def test_trust_counts_from_when_it_was_asked_for_not_from_when_it_arrived():
    made = entry(1000.0, trusted_at=997.0)
    assert made.fetched_at == 1000.0
    assert judged(made, 1001, trusted_since=998.0) is Usability.IF_ERROR


def test_without_stale_if_error_an_entry_past_revalidation_is_gone():
    policy = Freshness(fresh_seconds=1, stale_while_revalidate_seconds=5, stale_if_error_seconds=0, jitter=0)
    made = policy.entry(None, 0.0, fresh_seconds=1)
    assert policy.usability(made, 5.9, ALWAYS) is Usability.REVALIDATE
    assert policy.usability(made, 5.9, 1.0) is Usability.GONE
    assert policy.usability(made, 6.0, ALWAYS) is Usability.GONE


def test_lifetime_is_freshness_and_the_longer_of_the_stale_times():
    assert POLICY.lifetime_seconds == 1300
