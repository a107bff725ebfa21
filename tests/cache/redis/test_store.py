"""The contract of the store, on a real Redis and on a fake one."""

from collections.abc import AsyncIterator

import pytest

from gateway.cache.invalidation import Throttled
from gateway.cache.write_rule import ACCEPTED, UNCHANGED, UNKNOWN, Outcome
from gateway.clock import SystemClock
from gateway.model import Id, Kind, Partition, Rating, Variant
from tests.cache.redis.harness import (
    ALBUMS,
    DISLIKED,
    GERMAN,
    LIBRARY,
    LIKED,
    ONE,
    OTHER,
    THREE,
    TWO,
    USER,
    WRITE_SECONDS,
    Side,
    age,
    asks_apple,
    held,
    side_of,
)

JSON = b'{"id":"1","type":"ratings","attributes":{"value":1},"relationships":{}}'


@pytest.fixture
async def one(any_url: str) -> AsyncIterator[Side]:
    async with side_of(any_url) as side:
        yield side


@pytest.fixture
async def two(any_url: str) -> AsyncIterator[Side]:
    async with side_of(any_url, gateway_id="two") as side:
        yield side


async def test_an_empty_redis_answers_with_misses_and_a_version(one: Side) -> None:
    lookup = await one.look(ALBUMS, ONE, TWO)
    assert lookup.shared_version == b"0"
    assert not lookup.entries
    assert lookup.admitted


@pytest.mark.parametrize(
    "rating", [None, LIKED, DISLIKED, JSON], ids=["unrated", "liked", "disliked", "more"]
)
async def test_what_one_gateway_stored_another_finds(one: Side, two: Side, rating: Rating) -> None:
    assert await one.keep(ALBUMS, {ONE: rating})
    lookup = await two.look(ALBUMS, ONE)
    assert lookup.entries[ONE].rating == rating
    assert 0 <= age(lookup, ONE) < 5
    assert not lookup.entries[ONE].ask_when_stale
    assert not lookup.holds


@pytest.mark.parametrize("kind", list(Kind))
async def test_plain_ratings_of_every_type_are_found(one: Side, kind: Kind) -> None:
    id_ = Id("x.9")
    assert await one.keep(Partition(USER, kind), {id_: DISLIKED})
    assert await one.seen(Partition(USER, kind), id_) == DISLIKED


async def test_users_types_and_variants_share_nothing(one: Side) -> None:
    await one.keep(ALBUMS, {ONE: LIKED})
    for partition in (Partition(OTHER, Kind.ALBUMS), Partition(USER, Kind.SONGS), GERMAN):
        assert await one.seen(partition, ONE) == "miss"


async def test_a_lookup_of_thousands_of_ids_finds_each(one: Side) -> None:
    ids = [Id(str(number)) for number in range(2500)]
    assert await one.keep(ALBUMS, dict.fromkeys(ids))
    assert list((await one.look(ALBUMS, *ids)).entries) == ids


async def test_a_fill_from_before_a_write_is_refused(one: Side, two: Side) -> None:
    before = await one.look(ALBUMS, ONE, TWO)
    await two.store.begin((USER.key, Kind.ALBUMS), ONE, WRITE_SECONDS)
    assert isinstance(before.shared_version, bytes)
    assert not await one.store.fill(ALBUMS, before.shared_version, {ONE: DISLIKED, TWO: None})
    assert not (await one.look(ALBUMS, ONE, TWO)).entries


async def test_an_id_that_is_being_written_is_a_miss_with_a_stamp(one: Side, two: Side) -> None:
    await one.keep(ALBUMS, {ONE: DISLIKED, TWO: None})
    stamp = await two.store.begin((USER.key, Kind.ALBUMS), ONE, WRITE_SECONDS)
    lookup = await one.look(ALBUMS, ONE, TWO)
    assert lookup.pending == {ONE: stamp}
    assert list(lookup.entries) == [TWO]


async def test_an_id_that_is_being_written_is_not_stored(one: Side, two: Side) -> None:
    await two.store.begin((USER.key, Kind.ALBUMS), ONE, WRITE_SECONDS)
    assert await one.keep(ALBUMS, {ONE: DISLIKED, TWO: None})
    assert list((await one.look(ALBUMS, ONE, TWO)).entries) == [TWO]


async def test_a_written_value_is_held_in_every_variant(one: Side, two: Side) -> None:
    await one.keep(GERMAN, {ONE: JSON})
    assert await two.write(ALBUMS, ONE, LIKED) is True
    lookup = await one.look(ALBUMS, ONE)
    assert held(lookup) == {ONE: LIKED}
    assert ONE in lookup.entries
    held_until = lookup.holds[ONE].held_until
    assert held_until is not None
    assert 9 < held_until - lookup.entries[ONE].trusted_at <= 10
    german = await one.look(GERMAN, ONE)
    assert held(german) == {ONE: LIKED}
    assert not german.entries


async def test_a_fetch_within_the_hold_does_not_replace_it(one: Side) -> None:
    await one.write(ALBUMS, ONE, LIKED)
    assert await one.keep(ALBUMS, {ONE: DISLIKED})
    assert await one.seen(ALBUMS, ONE) == LIKED


async def test_a_removed_rating_is_held_like_any_other(one: Side) -> None:
    await one.keep(ALBUMS, {ONE: LIKED})
    await one.write(ALBUMS, ONE, None)
    assert held(await one.look(ALBUMS, ONE)) == {ONE: None}


async def test_after_a_refused_write_fills_are_stored_again(one: Side) -> None:
    await one.keep(ALBUMS, {ONE: LIKED})
    assert await one.write(ALBUMS, ONE, UNCHANGED) is False
    assert await one.seen(ALBUMS, ONE) == "miss"
    assert await one.keep(ALBUMS, {ONE: LIKED})
    assert await one.seen(ALBUMS, ONE) == LIKED


@pytest.mark.parametrize("overlapping", [False, True])
async def test_after_a_refused_write_what_was_unknown_before_it_is_not_stored(
    one: Side, overlapping: bool
) -> None:
    if overlapping:
        stamps = [await one.store.begin((USER.key, Kind.ALBUMS), ONE, WRITE_SECONDS) for _ in range(2)]
        for stamp in stamps:
            await one.store.end((USER.key, Kind.ALBUMS), ONE, stamp, DISLIKED)
    else:
        await one.write(ALBUMS, ONE, UNKNOWN)
    assert await one.write(ALBUMS, ONE, UNCHANGED) is False
    await one.keep(ALBUMS, {ONE: LIKED})
    assert await one.seen(ALBUMS, ONE) == "miss"


async def test_a_refused_write_does_not_end_the_hold_of_the_one_before(one: Side) -> None:
    await one.write(ALBUMS, ONE, LIKED)
    stamp = await one.store.begin((USER.key, Kind.ALBUMS), ONE, WRITE_SECONDS)
    assert await one.seen(ALBUMS, ONE) == LIKED
    await one.store.end((USER.key, Kind.ALBUMS), ONE, stamp, UNCHANGED)
    assert await one.seen(ALBUMS, ONE) == LIKED


@pytest.mark.parametrize("outcome", [UNCHANGED, UNKNOWN, ACCEPTED])
async def test_only_an_accepted_write_without_a_rating_ends_the_hold_of_the_one_before(
    one: Side, two: Side, outcome: Outcome
) -> None:
    await one.write(ALBUMS, ONE, LIKED)
    await two.write(ALBUMS, ONE, outcome)
    lookup = await one.look(ALBUMS, ONE)
    assert (ONE in lookup.holds, ONE in lookup.pending) == (outcome is not ACCEPTED, outcome is ACCEPTED)


async def test_after_a_write_of_unknown_outcome_nothing_is_stored_for_a_while(one: Side) -> None:
    await one.write(ALBUMS, ONE, UNKNOWN)
    await one.keep(ALBUMS, {ONE: LIKED})
    assert await one.seen(ALBUMS, ONE) == "miss"


async def test_writes_that_overlap_leave_no_rating(one: Side, two: Side) -> None:
    first = await one.store.begin((USER.key, Kind.ALBUMS), ONE, WRITE_SECONDS)
    second = await two.store.begin((USER.key, Kind.ALBUMS), ONE, WRITE_SECONDS)
    assert await one.store.end((USER.key, Kind.ALBUMS), ONE, first, LIKED) is False
    assert await two.store.end((USER.key, Kind.ALBUMS), ONE, second, DISLIKED) is False
    lookup = await one.look(ALBUMS, ONE)
    assert not lookup.entries
    assert not lookup.holds
    assert ONE in lookup.pending


async def test_a_write_makes_the_paired_type_ask_apple(one: Side, two: Side) -> None:
    await one.keep(LIBRARY, {ONE: LIKED})
    await two.write(ALBUMS, TWO, LIKED)
    lookup = await one.look(LIBRARY, ONE)
    assert asks_apple(lookup, ONE)
    assert lookup.paired_stamp


async def test_fills_of_the_paired_type_within_the_hold_are_fresh_no_longer_than_it(one: Side) -> None:
    await one.write(ALBUMS, TWO, LIKED)
    asked_at = SystemClock.monotonic()
    lookup = await one.look(LIBRARY, ONE)
    assert lookup.cap_until is not None
    assert 9 < lookup.cap_until - asked_at <= 10.1


async def test_a_purge_drops_ratings_in_every_variant_and_voids_fetches(one: Side, two: Side) -> None:
    await one.keep(ALBUMS, {ONE: LIKED, TWO: None})
    await one.keep(GERMAN, {ONE: JSON})
    before = await one.look(ALBUMS, THREE)
    assert await two.store.purge(USER.key, None, None)
    assert isinstance(before.shared_version, bytes)
    assert not await one.store.fill(ALBUMS, before.shared_version, {THREE: None})
    for partition in (ALBUMS, GERMAN):
        assert not (await one.look(partition, ONE, TWO, THREE)).entries


async def test_a_purge_of_some_ids_leaves_the_others(one: Side) -> None:
    await one.keep(ALBUMS, {ONE: LIKED, TWO: None})
    await one.keep(GERMAN, {ONE: JSON, TWO: None})
    assert await one.store.purge(USER.key, Kind.ALBUMS, [ONE])
    for partition in (ALBUMS, GERMAN):
        assert list((await one.look(partition, ONE, TWO)).entries) == [TWO]


async def test_a_purge_of_no_ids_changes_nothing(one: Side) -> None:
    await one.keep(ALBUMS, {ONE: LIKED})
    assert await one.store.purge(USER.key, Kind.ALBUMS, [])
    assert await one.seen(ALBUMS, ONE) == LIKED


async def test_a_purge_leaves_the_hold_of_a_write(one: Side) -> None:
    await one.write(ALBUMS, ONE, LIKED)
    await one.store.purge(USER.key, None, None)
    assert await one.seen(ALBUMS, ONE) == LIKED


async def test_eight_variants_are_stored_and_a_ninth_is_not(one: Side) -> None:
    partitions = [Partition(USER, Kind.ALBUMS, Variant(f"l={number}")) for number in range(9)]
    for partition in partitions[:8]:
        assert (await one.look(partition, ONE)).admitted
        assert await one.keep(partition, {ONE: JSON})
    ninth = await one.look(partitions[8], ONE)
    assert not ninth.admitted
    assert isinstance(ninth.shared_version, bytes)
    assert not await one.store.fill(partitions[8], ninth.shared_version, {ONE: JSON})
    assert await one.seen(partitions[8], ONE) == "miss"
    assert (await one.look(partitions[0], ONE)).admitted


async def test_publishing_without_subscribers_is_not_an_error(one: Side) -> None:
    await one.store.publish(Throttled(1.0))
    assert not one.errors("response")
