"""What the replies to a lookup say: all cells looked at together, and one by one."""

from hypothesis import example, given
from hypothesis import strategies as st

from gateway.cache.redis.keys import TICKS, owner_tag
from gateway.cache.redis.reading import Reading, read_plain
from gateway.model import Id, Kind

TAG = owner_tag(b"u" * 16, Kind.ALBUMS)
NOW = 1_000_000
LIFETIME = 50.0
IDS = [Id("1"), Id("22"), Id("333")]


def cell(code: int, stored_at: int = NOW - 100, *, form: int = 1) -> bytes:
    return bytes((form, code)) + stored_at.to_bytes(5)


def reading() -> Reading:
    return Reading(Kind.ALBUMS, NOW / TICKS, LIFETIME)


def plain(*cells: bytes | None, meta: bytes | None = TAG + b"7"):
    ids = IDS[: len(cells)]
    return read_plain(Kind.ALBUMS, ids, [meta, *cells], TAG, now=NOW / TICKS, lifetime=LIFETIME)


class TestAllTogether:
    def test_ratings_are_listed_in_the_order_asked(self):
        found = plain(cell(1), cell(0), cell(2))
        assert found.rated == 2
        assert found.listed == (
            b'{"id":"1","type":"ratings","href":"/v1/me/ratings/albums/1","attributes":{"value":1}},'
            b'{"id":"333","type":"ratings","href":"/v1/me/ratings/albums/333","attributes":{"value":-1}}'
        )

    def test_where_none_is_rated_nothing_is_listed(self):
        assert (plain(cell(0), cell(0)).listed, plain(cell(0), cell(0)).rated) == (b"", 0)

    def test_one_age_stands_for_all(self):
        assert plain(cell(1), cell(0)).ages == [1.0]

    def test_different_ages_come_in_the_order_asked(self):
        assert plain(cell(1, NOW - 200), cell(0), cell(1, NOW)).ages == [2.0, 1.0, 0.0]

    def test_names_of_variants_in_the_meta_are_no_matter(self):
        assert plain(cell(1), meta=TAG + b"7 0 0 0 abcd") is not None


CELLS = st.one_of(
    st.none(),
    st.builds(cell, st.integers(0, 2), st.sampled_from([NOW - 100, NOW - 200, NOW])),
    st.builds(cell, st.integers(0, 255), st.integers(NOW - 6000, NOW + 200), form=st.integers(0, 2)),
    st.builds(
        bytes.__add__, st.just(cell(1 + 128)), st.integers(NOW - 10, NOW + 10).map(lambda t: t.to_bytes(5))
    ),
    st.binary(max_size=16),
)
METAS = st.one_of(
    st.sampled_from([TAG + b"7", TAG + b"7 0 0 0 abcd", TAG + b"7 6 99 200000", b"other-ta7"]), st.none()
)


@given(METAS, st.lists(CELLS, min_size=3, max_size=3))
@example(TAG + b"7", [cell(1)[:6], cell(1) + b"\x01", cell(0)])
def test_together_they_say_what_they_say_one_by_one(meta, cells):
    found = plain(*cells, meta=meta)
    if found is None:
        return
    closely = reading()
    closely.read_main(IDS, [[meta, *cells]], TAG)
    lookup = closely.outcome()
    assert lookup == found.in_full()
    each = [lookup.found[id_] for id_ in IDS]
    assert found.listed == b",".join(one.resource for one in each if one.resource is not None)
    assert found.rated == sum(one.resource is not None for one in each)
    ages = list(found.ages) * (3 if len(found.ages) == 1 else 1)
    assert ages == [one.age for one in each]
    assert (lookup.held, lookup.marks, lookup.twin_mark) == ({}, {}, b"")
    assert (closely.expired, closely.spoiled) == ([], False)
