import msgspec
import pytest

from gateway.cache.announcement import Announcement, decode_announcement, encode_announcement, value_digest
from gateway.model import Id, Kind

KEY = bytes(range(16))
ONE = Id("1")
WRITTEN = Announcement(
    origin="me", user=KEY, kind=Kind.ALBUMS, id=ONE, digest=b"12345678", hold_seconds=10.0, begun=5
)


def test_an_announcement_survives_the_wire():
    assert decode_announcement(encode_announcement(WRITTEN)) == WRITTEN


def test_version_and_time_may_be_appended_as_text():
    appended = encode_announcement(WRITTEN)[:-1] + b',"version":7,"published":9}'
    assert decode_announcement(appended) == msgspec.structs.replace(WRITTEN, version=7, published=9)


def test_fields_of_later_releases_are_ignored():
    assert decode_announcement(encode_announcement(WRITTEN)[:-1] + b',"later":[]}') == WRITTEN


def test_a_malformed_announcement_is_rejected():
    with pytest.raises(msgspec.DecodeError):
        decode_announcement(b'{"origin":"me"}')


def test_the_digest_depends_on_the_value_alone_not_on_other_fields():
    plain = value_digest(KEY, Kind.ALBUMS, ONE, 1)
    assert value_digest(KEY, Kind.ALBUMS, ONE, b'{"id":"1","attributes":{"value":1,"more":2}}') == plain
    others = {value_digest(KEY, Kind.ALBUMS, ONE, rating) for rating in (-1, None)}
    assert plain not in others
    assert len(others) == 2


def test_digests_of_equal_values_differ_between_ids():
    digests = {
        value_digest(KEY, Kind.ALBUMS, ONE, 1),
        value_digest(KEY, Kind.ALBUMS, Id("2"), 1),
        value_digest(KEY, Kind.SONGS, ONE, 1),
        value_digest(bytes(16), Kind.ALBUMS, ONE, 1),
    }
    assert len(digests) == 4
