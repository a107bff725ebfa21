import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cache.entry import SLOT_BYTES, Entry, Freshness
from gateway.cache.redis.codec import Reading, content, decode
from gateway.cache.redis.errors import RedisFailed
from gateway.cache.redis.layout import TICKS, owner_tag
from gateway.cache.write_rule import PendingWrite, StoredRating
from gateway.model import Id, Kind, Rating, plain_resource

ID = Id("1440857781")
LIKED = plain_resource(Kind.ALBUMS, ID, 1)
SOON = (123_456).to_bytes(5)


def stored(says: bytes) -> bytes:
    return bytes((1, says[0])) + SOON + says[1:]


@pytest.mark.parametrize("rating", [1, -1, None])
def test_a_plain_rating_takes_seven_bytes_and_comes_back(rating: Rating) -> None:
    field = stored(content(rating))
    assert len(field) == 7
    assert decode(ID, field) == StoredRating(rating, 1234.56)


@pytest.mark.parametrize(
    "resource",
    [
        LIKED.replace(b"}}", b'},"more":1}'),
        LIKED.replace(b"/albums/", b"/songs/"),
        LIKED.replace(b'"type"', b' "type"').replace(b":1}", b':1,"more":1}'),
    ],
)
def test_a_resource_with_more_fields_is_kept_to_the_byte(resource: bytes) -> None:
    field = stored(content(resource))
    assert decode(ID, field) == StoredRating(resource, 1234.56)


@pytest.mark.parametrize(
    "resource",
    [
        b"{}",
        LIKED.replace(b":1}", b":1.0}"),
        LIKED.replace(b":1}", b":true}"),
        LIKED.replace(b":1}", b":2}"),
        LIKED.replace(ID.encode(), b"2"),
        LIKED.replace(b'"ratings"', b'"rating"'),
        LIKED.replace(b'"attributes":{"value":1}', b'"attributes":{}'),
    ],
)
def test_json_that_is_not_a_rating_of_the_id_is_refused(resource: bytes) -> None:
    with pytest.raises(ValueError):
        decode(ID, stored(content(resource)))


def test_a_hold_follows_the_time() -> None:
    field = b"\x01\x82" + SOON + (124_456).to_bytes(5)
    assert decode(ID, field) == StoredRating(-1, 1234.56, 1244.56)


def test_a_pending_write_carries_the_hold_of_before() -> None:
    before = b"\x01\x80" + SOON + (124_456).to_bytes(5)
    field = b"\x01\x04" + SOON + b"\x02\x01" + (1_700_000_000_000_000).to_bytes(7)
    bare = PendingWrite(1_700_000_000_000_000, 2, True, 1234.56)
    assert decode(ID, field) == bare
    assert decode(ID, field + before) == PendingWrite(
        bare.stamp, 2, True, 1234.56, StoredRating(None, 1234.56, 1244.56)
    )


def test_a_pending_write_says_whether_it_began_while_the_rating_was_unknown() -> None:
    field = b"\x01\x04" + SOON + b"\x01\x02" + (7).to_bytes(7)
    assert decode(ID, field) == PendingWrite(7, 1, False, 1234.56, after_unknown=True)


def test_an_unknown_format_is_a_miss() -> None:
    assert decode(ID, b"\x02\x01" + SOON) is None
    assert decode(ID, b"\x01\x04" + SOON + b"\x00\x00" + bytes(7) + b"\x02") == PendingWrite(
        0, 0, False, 1234.56
    )


@given(st.binary(max_size=40))
def test_any_bytes_are_refused_or_decoded(data: bytes) -> None:
    try:
        record = decode(ID, data)
    except (ValueError, LookupError):
        return
    assert record is None or isinstance(record, StoredRating | PendingWrite)


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
    reading.read_main(IDS[: len(fields)], [meta, *fields], TAG)
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
        alone.read_main([id_], [meta, each], TAG)
        assert seen(together.entries.get(id_)) == seen(alone.entries.get(id_))
        assert together.holds.get(id_) == alone.holds.get(id_)
        assert together.pending.get(id_) == alone.pending.get(id_)
        assert (id_ in together.expired) == (id_ in alone.expired)
