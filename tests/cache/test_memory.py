import sys
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cache.entry import Entry
from gateway.cache.memory import BOOK_BYTES, ENTRY_BYTES, MemoryCache
from gateway.model import Id, Kind, Partition, User, Variant

ADA, BEN = User.of("ada"), User.of("ben")
ALBUMS = Partition(ADA, Kind.ALBUMS)


class Tier(MemoryCache):
    def __init__(self, max_entries: int = 100, max_bytes: int = 10**9) -> None:
        self.evicted = 0
        super().__init__(max_entries=max_entries, max_bytes=max_bytes, on_evict=self._evicted)

    def _evicted(self, count: int) -> None:
        self.evicted += count


def entries(*ids: object, resource: bytes | None = None) -> Mapping[Id, Entry]:
    return {Id(str(id_)): Entry(resource, 0.0, 0.0, 1.0) for id_ in ids}


def test_what_is_put_is_found_on_its_shelf_alone():
    tier = Tier()
    tier.put(ALBUMS, entries(1, 2))
    assert set(tier.partition(ALBUMS)) == {"1", "2"}
    others = (
        Partition(BEN, Kind.ALBUMS),
        Partition(ADA, Kind.SONGS),
        Partition(ADA, Kind.ALBUMS, Variant("l=de")),
    )
    assert [dict(tier.partition(other)) for other in others] == [{}, {}, {}]


def test_the_least_recently_used_user_makes_room_first():
    tier = Tier(max_entries=4)
    tier.put(ALBUMS, entries(1, 2))
    tier.put(Partition(BEN, Kind.ALBUMS), entries(1, 2))
    tier.partition(ALBUMS)
    tier.put(Partition(User.of("cleo"), Kind.ALBUMS), entries(1))
    assert not tier.partition(Partition(BEN, Kind.ALBUMS))
    assert len(tier.partition(ALBUMS)) == 2
    assert (tier.entries, tier.evicted) == (3, 2)


def test_a_user_alone_loses_the_oldest_entries():
    tier = Tier(max_entries=100)
    tier.put(ALBUMS, entries(*range(100)))
    tier.put(ALBUMS, entries(100))
    kept = tier.partition(ALBUMS)
    assert "0" not in kept
    assert "100" in kept
    assert len(kept) <= 100
    assert tier.evicted == 101 - len(kept)


def test_an_entry_put_again_is_young_again():
    tier = Tier(max_entries=20)
    tier.put(ALBUMS, entries(*range(20)))
    tier.put(ALBUMS, entries(0))
    tier.put(ALBUMS, entries(20))
    assert "0" in tier.partition(ALBUMS)
    assert "1" not in tier.partition(ALBUMS)


def test_bytes_bound_too():
    tier = Tier(max_bytes=BOOK_BYTES + 3 * (ENTRY_BYTES + 1000))
    for id_ in range(10):
        tier.put(ALBUMS, entries(id_, resource=b"x" * 1000))
    assert tier.entries == 3
    assert tier.bytes <= BOOK_BYTES + 3 * (ENTRY_BYTES + 1000)


def test_one_put_over_the_bounds_keeps_what_fits():
    tier = Tier(max_entries=10)
    tier.put(ALBUMS, entries(*range(1000)))
    assert 0 < tier.entries <= 10


def test_with_no_entries_allowed_nothing_is_kept():
    tier = Tier(max_entries=0)
    tier.put(ALBUMS, entries(1))
    assert (tier.entries, tier.bytes) == (0, 0)


def test_a_drop_reaches_every_variant():
    tier = Tier()
    german = Partition(ADA, Kind.ALBUMS, Variant("l=de"))
    tier.put(ALBUMS, entries(1, 2))
    tier.put(german, entries(1, 2))
    tier.drop(ADA.key, Kind.ALBUMS, [Id("1")])
    assert set(tier.partition(ALBUMS)) == set(tier.partition(german)) == {"2"}


def test_a_drop_without_ids_drops_the_kind():
    tier = Tier()
    tier.put(ALBUMS, entries(1, 2))
    tier.put(Partition(ADA, Kind.SONGS), entries(1))
    tier.drop(ADA.key, Kind.ALBUMS)
    assert not tier.partition(ALBUMS)
    assert tier.partition(Partition(ADA, Kind.SONGS))


def test_dropping_the_unknown_changes_nothing():
    tier = Tier()
    tier.drop(ADA.key, Kind.ALBUMS, [Id("1")])
    assert (tier.entries, tier.bytes) == (0, 0)


def test_the_last_entry_takes_its_book_along():
    tier = Tier()
    tier.put(ALBUMS, entries(1))
    tier.drop(ADA.key, Kind.ALBUMS, [Id("1")])
    assert (tier.entries, tier.bytes) == (0, 0)


def test_a_ninth_variant_is_not_admitted_and_not_kept():
    tier = Tier()
    partitions = [Partition(ADA, Kind.ALBUMS, Variant(f"l={n}")) for n in range(9)]
    tier.put(ALBUMS, entries(1))
    for partition in partitions:
        tier.put(partition, entries(1))
    assert [tier.admits(partition) for partition in partitions] == [True] * 8 + [False]
    assert not tier.partition(partitions[8])
    assert tier.admits(ALBUMS)


def test_entries_can_be_replaced_in_place():
    tier = Tier()
    tier.put(ALBUMS, entries(1, 2))
    tier.replace(ADA.key, Kind.ALBUMS, lambda entry: msgspec.structs.replace(entry, fresh_until=-1.0))
    tier.replace(BEN.key, Kind.ALBUMS, lambda entry: entry)
    assert {entry.fresh_until for entry in tier.partition(ALBUMS).values()} == {-1.0}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "drop", "look"]),
            st.sampled_from([ADA, BEN, User.of("cleo")]),
            st.sampled_from([Variant(""), Variant("l=de")]),
            st.lists(st.integers(0, 30), max_size=12),
        ),
        max_size=40,
    )
)
def test_the_counts_agree_with_what_is_kept_and_the_bounds_hold(steps):
    tier = Tier(max_entries=25)
    partitions = set()
    for what, user, variant, ids in steps:
        partition = Partition(user, Kind.ALBUMS, variant)
        partitions.add(partition)
        if what == "put":
            tier.put(partition, entries(*ids, resource=b"x"))
        elif what == "drop":
            tier.drop(user.key, Kind.ALBUMS, [Id(str(id_)) for id_ in ids])
        kept = sum(len(tier.partition(each)) for each in partitions)
        assert tier.entries == kept <= 25
        books = {each.user.key for each in partitions if tier.partition(each)}
        assert tier.bytes == kept * (ENTRY_BYTES + 1) + len(books) * BOOK_BYTES


@pytest.mark.parametrize("resource", [None, b"x" * 105])
def test_the_estimate_of_an_entry_covers_its_objects(resource):
    tier = Tier(max_entries=10**6)
    tier.put(ALBUMS, entries(*range(10**9, 10**9 + 5000), resource=resource))
    kept = tier.partition(ALBUMS)
    real = sys.getsizeof(kept) + sum(
        sys.getsizeof(id_) + sys.getsizeof(entry) + 24 + (sys.getsizeof(resource) if resource else 0)
        for id_, entry in kept.items()
    )
    assert real <= tier.bytes
