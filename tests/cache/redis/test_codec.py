import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cache.redis.codec import PLAIN_FORMS, content, decode
from gateway.cache.write_rule import PendingWrite, StoredRating
from gateway.model import Id, Kind, plain_resource

ID = Id("1440857781")
LIKED = plain_resource(Kind.ALBUMS, ID, 1)
SOON = (123_456).to_bytes(5)


def stored(says: bytes) -> bytes:
    return bytes((1, says[0])) + SOON + says[1:]


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("value", [1, -1])
def test_a_plain_rating_takes_seven_bytes_and_comes_back(kind: Kind, value: int) -> None:
    resource = plain_resource(kind, ID, value)
    cell = stored(content(kind, ID, resource))
    assert len(cell) == 7
    assert decode(kind, ID, cell) == StoredRating(resource, 1234.56)


@pytest.mark.parametrize(
    "resource",
    [
        b'{"type": "ratings", "id": "%b", "href": "/v1/me/ratings/albums/%b", "attributes": {"value": 1}}',
        b'{"attributes":{"value":1},"href":"/v1/me/ratings/albums/%b","id":"%b","type":"ratings"}',
    ],
)
def test_other_spellings_of_a_plain_rating_are_plain(resource: bytes) -> None:
    assert content(Kind.ALBUMS, ID, resource % (ID.encode(), ID.encode())) == b"\x01"


@pytest.mark.parametrize(
    "resource",
    [
        LIKED.replace(b"}}", b'},"more":1}'),
        LIKED.replace(b"/albums/", b"/songs/"),
        LIKED.replace(b'"type"', b' "type"').replace(b":1}", b':1,"more":1}'),
    ],
)
def test_what_says_more_or_other_is_kept_to_the_byte(resource: bytes) -> None:
    cell = stored(content(Kind.ALBUMS, ID, resource))
    assert decode(Kind.ALBUMS, ID, cell) == StoredRating(resource, 1234.56)


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
def test_json_that_is_no_rating_of_the_id_is_refused(resource: bytes) -> None:
    with pytest.raises(ValueError):
        decode(Kind.ALBUMS, ID, stored(content(Kind.ALBUMS, ID, resource)))


def test_unrated_is_a_value() -> None:
    assert decode(Kind.ALBUMS, ID, stored(content(Kind.ALBUMS, ID, None))) == StoredRating(None, 1234.56)


def test_a_hold_stands_behind_the_time() -> None:
    cell = b"\x01\x82" + SOON + (124_456).to_bytes(5)
    assert decode(Kind.ALBUMS, ID, cell) == StoredRating(
        plain_resource(Kind.ALBUMS, ID, -1), 1234.56, 1244.56
    )


def test_an_unsettled_write_carries_the_hold_of_before() -> None:
    before = b"\x01\x80" + SOON + (124_456).to_bytes(5)
    cell = b"\x01\x04" + SOON + b"\x02\x01" + (1_700_000_000_000_000).to_bytes(7)
    bare = PendingWrite(1_700_000_000_000_000, 2, True, 1234.56)
    assert decode(Kind.ALBUMS, ID, cell) == bare
    assert decode(Kind.ALBUMS, ID, cell + before) == PendingWrite(
        bare.stamp, 2, True, 1234.56, StoredRating(None, 1234.56, 1244.56)
    )


def test_an_unknown_format_says_nothing() -> None:
    assert decode(Kind.ALBUMS, ID, b"\x02\x01" + SOON) is None
    assert decode(Kind.ALBUMS, ID, b"\x01\x04" + SOON + b"\x00\x00" + bytes(7) + b"\x02") == PendingWrite(
        0, 0, False, 1234.56
    )


@given(st.binary(max_size=40))
def test_nonsense_is_refused_or_means_something(data: bytes) -> None:
    try:
        cell = decode(Kind.ALBUMS, ID, data)
    except (ValueError, LookupError):
        return
    assert cell is None or isinstance(cell, StoredRating | PendingWrite)


def test_the_forms_are_apples_rendering() -> None:
    for kind in Kind:
        for code, value in ((1, 1), (2, -1)):
            name = ID.encode()
            assert PLAIN_FORMS[kind][code] % (name, name) == plain_resource(kind, ID, value)
