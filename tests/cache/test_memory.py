import sys
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cache.entry import ENTRY_BYTES, SLOT_BYTES, Entry, Freshness, bytes_per_id
from gateway.cache.memory import USER_BYTES, VARIANT_BYTES, MemoryCache
from gateway.model import PLAIN, Id, Kind, Partition, User, Variant

ADA, BEN = User.of("ada"), User.of("ben")
ALBUMS = Partition(ADA, Kind.ALBUMS)
FRESH = 300.0
NOW = 1000.0
EACH = SLOT_BYTES + ENTRY_BYTES
ALONE = USER_BYTES + VARIANT_BYTES


class Tier(MemoryCache):
    def __init__(self, max_entries: int = 100, max_bytes: int = 10**9) -> None:
        self.evicted = 0
        super().__init__(
            max_entries=max_entries, max_bytes=max_bytes, fresh_seconds=FRESH, on_evict=self._evicted
        )

    def _evicted(self, count: int) -> None:
        self.evicted += count


def entries(*ids: object, rating: bytes | None = None) -> Mapping[Id, Entry]:
    size = EACH + (sys.getsizeof(rating) if rating else 0)
    return {Id(str(id_)): Entry(rating, 0.0, 0.0, 1.0, bytes_per_id=size) for id_ in ids}


def test_entries_are_found_in_their_partition_alone():
    tier = Tier()
    tier.put(ALBUMS, entries(1, 2), NOW)
    assert set(tier.partition(ALBUMS, NOW).entries) == {"1", "2"}
    others = (
        Partition(BEN, Kind.ALBUMS),
        Partition(ADA, Kind.SONGS),
        Partition(ADA, Kind.ALBUMS, Variant("l=de")),
    )
    assert [dict(tier.partition(other, NOW).entries) for other in others] == [{}, {}, {}]


def test_the_variants_that_have_an_id_are_named():
    tier = Tier()
    german, french = (Variant(f"l={language}") for language in ("de", "fr"))
    tier.put(ALBUMS, entries(1, 2), NOW)
    tier.put(Partition(ADA, Kind.ALBUMS, german), entries(1), NOW)
    tier.put(Partition(ADA, Kind.ALBUMS, french), entries(2), NOW)
    assert tier.variants((ADA.key, Kind.ALBUMS), Id("1")) == [PLAIN, german]
    assert tier.variants((BEN.key, Kind.ALBUMS), Id("1")) == []


def test_the_least_recently_used_user_makes_room_first():
    tier = Tier(max_entries=4)
    tier.put(ALBUMS, entries(1, 2), NOW)
    tier.put(Partition(BEN, Kind.ALBUMS), entries(1, 2), NOW)
    tier.partition(ALBUMS, NOW)
    tier.put(Partition(User.of("cleo"), Kind.ALBUMS), entries(1), NOW)
    assert not tier.partition(Partition(BEN, Kind.ALBUMS), NOW).entries
    assert len(tier.partition(ALBUMS, NOW).entries) == 2
    assert (tier.entries, tier.evicted) == (3, 2)


def test_a_user_alone_loses_the_oldest_entries():
    tier = Tier(max_entries=100)
    tier.put(ALBUMS, entries(*range(100)), NOW)
    tier.put(ALBUMS, entries(100), NOW)
    kept = tier.partition(ALBUMS, NOW).entries
    assert "0" not in kept
    assert "100" in kept
    assert len(kept) <= 100
    assert tier.evicted == 101 - len(kept)


def test_an_entry_put_again_is_young_again():
    tier = Tier(max_entries=20)
    tier.put(ALBUMS, entries(*range(20)), NOW)
    tier.put(ALBUMS, entries(0), NOW)
    tier.put(ALBUMS, entries(20), NOW)
    assert "0" in tier.partition(ALBUMS, NOW).entries
    assert "1" not in tier.partition(ALBUMS, NOW).entries


def test_bytes_bound_too():
    tier = Tier(max_bytes=ALONE + 3 * (EACH + sys.getsizeof(b"x" * 1000)))
    for id_ in range(10):
        tier.put(ALBUMS, entries(id_, rating=b"x" * 1000), NOW)
    assert tier.entries == 3
    assert tier.bytes <= ALONE + 3 * (EACH + sys.getsizeof(b"x" * 1000))


def test_a_put_over_the_bounds_keeps_as_much_as_fits():
    tier = Tier(max_entries=10)
    tier.put(ALBUMS, entries(*range(1000)), NOW)
    assert 0 < tier.entries <= 10


def test_with_no_entries_allowed_nothing_is_kept():
    tier = Tier(max_entries=0)
    tier.put(ALBUMS, entries(1), NOW)
    assert (tier.entries, tier.bytes) == (0, 0)


def test_a_drop_reaches_every_variant():
    tier = Tier()
    german = Partition(ADA, Kind.ALBUMS, Variant("l=de"))
    tier.put(ALBUMS, entries(1, 2), NOW)
    tier.put(german, entries(1, 2), NOW)
    tier.drop((ADA.key, Kind.ALBUMS), [Id("1")])
    assert set(tier.partition(ALBUMS, NOW).entries) == set(tier.partition(german, NOW).entries) == {"2"}


def test_a_drop_without_ids_drops_the_type():
    tier = Tier()
    tier.put(ALBUMS, entries(1, 2), NOW)
    tier.put(Partition(ADA, Kind.SONGS), entries(1), NOW)
    tier.drop((ADA.key, Kind.ALBUMS))
    assert not tier.partition(ALBUMS, NOW).entries
    assert tier.partition(Partition(ADA, Kind.SONGS), NOW).entries


def test_dropping_the_unknown_changes_nothing():
    tier = Tier()
    tier.drop((ADA.key, Kind.ALBUMS), [Id("1")])
    assert (tier.entries, tier.bytes) == (0, 0)


def test_nothing_is_left_of_a_user_without_entries():
    tier = Tier()
    tier.put(ALBUMS, entries(1), NOW)
    tier.drop((ADA.key, Kind.ALBUMS), [Id("1")])
    assert (tier.entries, tier.bytes) == (0, 0)


def variants(count: int) -> list[Partition]:
    return [Partition(ADA, Kind.ALBUMS, Variant(f"l={number}")) for number in range(count)]


def test_a_ninth_variant_is_not_admitted_while_the_others_are_in_use():
    tier = Tier()
    tier.put(ALBUMS, entries(1), NOW)
    for partition in variants(9):
        tier.put(partition, entries(1), NOW)
    assert [tier.admits(partition, NOW) for partition in variants(9)] == [True] * 8 + [False]
    assert not tier.partition(variants(9)[8], NOW).entries
    assert tier.admits(ALBUMS, NOW)


def test_a_new_variant_takes_the_place_of_the_one_unused_longest():
    tier = Tier()
    for number, partition in enumerate(variants(8)):
        tier.put(partition, entries(1), NOW + number)
    tier.partition(variants(8)[0], NOW + 10)
    new, later = variants(9)[8], NOW + FRESH + 1
    assert tier.admits(new, later)
    tier.put(new, entries(1), later)
    kept = [bool(tier.partition(partition, later).entries) for partition in variants(9)]
    assert kept == [True, False, *[True] * 7]


def test_a_variant_of_over_2048_characters_is_not_admitted():
    assert Tier().admits(Partition(ADA, Kind.ALBUMS, Variant("l=" + 2046 * "x")), NOW)
    assert not Tier().admits(Partition(ADA, Kind.ALBUMS, Variant("l=" + 2047 * "x")), NOW)


def test_the_entries_of_a_type_can_be_made_stale():
    tier = Tier()
    tier.put(ALBUMS, entries(1, 2), NOW)
    tier.expire((ADA.key, Kind.ALBUMS), -1.0)
    tier.expire((BEN.key, Kind.ALBUMS), NOW)
    stale = tier.partition(ALBUMS, NOW).entries.values()
    assert {(entry.fresh_until, entry.ask_when_stale) for entry in stale} == {(-1.0, True)}


def test_what_is_stored_later_can_be_made_stale_again():
    tier = Tier()
    tier.put(ALBUMS, entries(1), NOW)
    tier.expire((ADA.key, Kind.ALBUMS), -1.0)
    tier.put(ALBUMS, entries(2), NOW)
    tier.expire((ADA.key, Kind.ALBUMS), -2.0)
    assert {entry.fresh_until for entry in tier.partition(ALBUMS, NOW).entries.values()} == {-2.0}


def test_entries_that_are_stale_already_are_left_as_they_are():
    tier = Tier()
    tier.put(ALBUMS, entries(*range(1000)), NOW)
    tier.expire((ADA.key, Kind.ALBUMS), -1.0)
    before = dict(tier.partition(ALBUMS, NOW).entries)
    tier.expire((ADA.key, Kind.ALBUMS), -2.0)
    after = tier.partition(ALBUMS, NOW).entries
    assert all(after[id_] is entry for id_, entry in before.items())


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
def test_the_counts_match_the_entries_and_stay_within_the_bounds(steps):
    tier = Tier(max_entries=25)
    partitions = set()
    for what, user, variant, ids in steps:
        partition = Partition(user, Kind.ALBUMS, variant)
        partitions.add(partition)
        if what == "put":
            tier.put(partition, entries(*ids, rating=b"x"), NOW)
        elif what == "drop":
            tier.drop((user.key, Kind.ALBUMS), [Id(str(id_)) for id_ in ids])
        kept = sum(len(tier.partition(each, NOW).entries) for each in partitions)
        assert tier.entries == kept <= 25
        variants = [each for each in partitions if tier.partition(each, NOW).entries]
        users = {each.user.key for each in variants}
        names = sum(VARIANT_BYTES + len(each.variant) for each in variants)
        assert tier.bytes == kept * (EACH + sys.getsizeof(b"x")) + len(users) * USER_BYTES + names


@pytest.mark.parametrize("rating", [None, b"x" * 105])
def test_the_estimate_of_an_entry_covers_its_objects(rating):
    tier = Tier(max_entries=10**6)
    tier.put(ALBUMS, entries(*range(10**9, 10**9 + 5000), rating=rating), NOW)
    kept = tier.partition(ALBUMS, NOW).entries
    real = sys.getsizeof(kept) + sum(
        sys.getsizeof(id_) + sys.getsizeof(entry) + 3 * 24 + (sys.getsizeof(rating) if rating else 0)
        for id_, entry in kept.items()
    )
    assert real <= tier.bytes


def test_the_estimate_of_shared_entries_covers_their_objects():
    tier = Tier(max_entries=10**6)
    freshness = Freshness(FRESH, 0, 0, 0)
    for start in range(10**9, 10**9 + 5000, 100):
        shared = freshness.entry(1, NOW, fresh_seconds=FRESH, size=bytes_per_id(1, 100))
        tier.put(ALBUMS, {Id(str(id_)): shared for id_ in range(start, start + 100)}, NOW)
    kept = tier.partition(ALBUMS, NOW).entries
    ids = sum(map(sys.getsizeof, kept))
    objects = sum(sys.getsizeof(entry) + 3 * 24 for entry in set(kept.values()))
    assert sys.getsizeof(kept) + ids + objects <= tier.bytes


def test_entries_that_ids_share_are_replaced_by_one():
    tier = Tier()
    shared = Entry(1, 0.0, 0.0, 1.0)
    tier.put(ALBUMS, {Id("1"): shared, Id("2"): shared}, NOW)
    tier.expire((ADA.key, Kind.ALBUMS), -1.0)
    assert len(set(tier.partition(ALBUMS, NOW).entries.values())) == 1
