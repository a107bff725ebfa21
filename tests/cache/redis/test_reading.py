"""What the replies to a lookup contain."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cache.entry import SLOT_BYTES, Entry, Freshness
from gateway.cache.redis.errors import RedisFailed
from gateway.cache.redis.keys import TICKS, owner_tag
from gateway.cache.redis.reading import Reading
from gateway.model import Id, Kind

TAG = owner_tag(b"u" * 16, Kind.ALBUMS)
NOW = 1_000_000
"""Ticks of Redis' clock."""
ASKED_AT = 50.0
"""Monotonic seconds of this process."""
FRESHNESS = Freshness(
    fresh_seconds=20.0, stale_while_revalidate_seconds=0.0, stale_if_error_seconds=30.0, jitter=0.0
)
IDS = [Id("1"), Id("22"), Id("333")]
META = TAG + b"7"


def field(code: int, stored_at: int = NOW - 100, *, form: int = 1) -> bytes:
    return bytes((form, code)) + stored_at.to_bytes(5)


def read(*fields: bytes | None, meta: bytes | None = META) -> Reading:
    reading = Reading(FRESHNESS, 20.0, asked_at=ASKED_AT, now=NOW / TICKS)
    reading.read_main(IDS[: len(fields)], [[meta, *fields]], TAG)
    return reading


def test_ratings_are_read_in_the_order_asked():
    assert [entry.rating for entry in read(field(1), field(0), field(2)).entries.values()] == [1, None, -1]


def test_equal_fields_share_one_entry():
    entries = read(field(1), field(2), field(1)).entries
    assert entries[IDS[0]] is entries[IDS[2]]
    assert entries[IDS[0]] is not entries[IDS[1]]


def test_an_age_in_redis_time_becomes_a_time_of_this_process():
    entry = read(field(1, NOW - 500)).entries[IDS[0]]
    assert (entry.fetched_at, entry.trusted_at, entry.fresh_until) == (45.0, 50.0, 65.0)


def test_ids_that_share_an_entry_divide_its_size():
    alone, shared = read(field(1)).entries[IDS[0]], read(field(1), field(1)).entries[IDS[0]]
    assert shared.bytes_per_id < alone.bytes_per_id


def test_missing_fields_take_no_share_of_an_entrys_size():
    alone, beside = read(field(1)).entries[IDS[0]], read(None, field(1), None).entries[IDS[1]]
    assert beside.bytes_per_id == alone.bytes_per_id


def test_entries_of_one_reply_are_counted_in_full_whatever_their_shares():
    skewed, alone = read(field(1), field(1), field(2)).entries, read(field(1)).entries[IDS[0]]
    counted = sum(entry.bytes_per_id - SLOT_BYTES for entry in skewed.values())
    assert counted >= 2 * (alone.bytes_per_id - SLOT_BYTES)


def test_a_missing_field_is_a_miss():
    assert list(read(None, field(1)).entries) == [IDS[1]]


def test_an_expired_field_is_a_miss_and_dropped():
    reading = read(field(1, NOW - 5000), field(1))
    assert (list(reading.entries), reading.expired, reading.spoiled) == ([IDS[1]], [IDS[0]], False)


def test_a_field_from_the_future_is_a_miss():
    reading = read(field(1, NOW + 200))
    assert (reading.entries, reading.expired) == ({}, [])


def test_an_invalid_field_is_a_miss_and_dropped():
    reading = read(field(1)[:6], field(9), field(1) + b"tail")
    assert (reading.entries, reading.expired, reading.spoiled) == ({}, IDS, True)


def test_an_unknown_format_is_a_miss_and_left_alone():
    reading = read(field(1, form=2))
    assert (reading.entries, reading.expired, reading.spoiled) == ({}, [], False)


@pytest.mark.parametrize("meta", [b"other-ta7", None])
def test_a_hash_of_another_owner_is_refused(meta):
    with pytest.raises(RedisFailed):
        read(field(1), meta=meta)


def test_a_write_on_the_paired_type_makes_older_entries_stale():
    entry = read(field(1), meta=TAG + b"7 6 %d %d" % (NOW - 50, NOW + 950)).entries[IDS[0]]
    assert (entry.fresh_until, entry.ask_when_stale) == (ASKED_AT, True)


def test_a_held_rating_is_an_entry_and_a_hold():
    held = bytes((1, 1 + 128)) + (NOW - 100).to_bytes(5) + (NOW + 400).to_bytes(5)
    reading = read(held)
    hold = reading.holds[IDS[0]]
    assert (hold.rating, hold.fetched_at, hold.held_until) == (1, 49.0, 54.0)
    assert reading.entries[IDS[0]].rating == 1


FIELDS = st.one_of(
    st.none(),
    st.builds(field, st.integers(0, 2), st.sampled_from([NOW - 100, NOW - 200, NOW])),
    st.builds(field, st.integers(0, 255), st.integers(NOW - 6000, NOW + 200), form=st.integers(0, 2)),
    st.builds(
        bytes.__add__, st.just(field(1 + 128)), st.integers(NOW - 10, NOW + 10).map(lambda t: t.to_bytes(5))
    ),
    st.binary(max_size=16),
)


def seen(entry: Entry | None) -> object:
    return entry and (entry.rating, entry.fetched_at, entry.fresh_until, entry.ask_when_stale)


@given(
    st.sampled_from([META, TAG + b"7 0 0 0 abcd", TAG + b"7 6 99 200000"]),
    st.lists(FIELDS, min_size=3, max_size=3),
)
def test_a_field_means_the_same_alone_and_beside_others(meta, fields):
    together = read(*fields, meta=meta)
    for id_, each in zip(IDS, fields, strict=True):
        alone = Reading(FRESHNESS, 20.0, asked_at=ASKED_AT, now=NOW / TICKS)
        alone.read_main([id_], [[meta, each]], TAG)
        assert seen(together.entries.get(id_)) == seen(alone.entries.get(id_))
        assert together.holds.get(id_) == alone.holds.get(id_)
        assert together.pending.get(id_) == alone.pending.get(id_)
        assert (id_ in together.expired) == (id_ in alone.expired)
