import time

import pytest

from gateway.errors import Refused, Source
from gateway.model import Kind
from gateway.web.ids import distinct_ids, invalid_ids, read_kind, too_many_ids


def test_ids_come_once_in_order_without_blanks_and_empty_pieces():
    ids = distinct_ids(Kind.ALBUMS, [" 2", "", "1", "2 ", "x", " ", "x"])
    assert (ids.valid, ids.invalid, len(ids)) == (("2", "1"), ("x",), 3)


def test_time_grows_with_the_ids_and_not_with_their_square():
    listed = [f"{letter}{number}" for number in range(100_000) for letter in ("", "x")]
    began = time.process_time()
    ids = distinct_ids(Kind.ALBUMS, listed)
    assert time.process_time() - began < 5.0
    assert (len(ids.valid), len(ids.invalid)) == (100_000, 100_000)


@pytest.mark.parametrize(
    ("kind", "ids", "detail"),
    [
        (Kind.ALBUMS, ["abc"], "Invalid album id: 'abc'. Album ids are up to 20 digits."),
        (
            Kind.LIBRARY_MUSIC_VIDEOS,
            ["1", "2"],
            "Invalid library music video ids: '1', '2'. "  # noqa: ISC004
            "Library music video ids are 'i.' and up to 64 letters, digits, dots, hyphens and underscores.",
        ),
    ],
)
def test_an_error_names_the_ids_and_the_expected_form(kind, ids, detail):
    assert invalid_ids(kind, ids).detail == detail


def test_an_error_that_names_many_long_ids_is_short():
    assert len(invalid_ids(Kind.ALBUMS, ["x" * 5000] * 5000).detail) < 1000


def test_an_error_for_too_many_ids_names_the_limit_and_the_next_step():
    detail = "10,400 distinct ids; a request may have at most 10,000. Split the request."
    assert too_many_ids(10_400, 10_000).detail == detail


def test_an_unknown_type_is_refused_with_a_list_of_types():
    with pytest.raises(Refused, match="library-music-videos") as refused:
        read_kind("artists", Source(pointer="/ids/artists"))
    assert (refused.value.status, refused.value.code) == (400, "40008")
