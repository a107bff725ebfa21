import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cache.redis.codec import content, decode
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
