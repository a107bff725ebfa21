"""What every Redis must do for the gateways; a fake one where it can."""

from collections.abc import AsyncIterator

import pytest

from gateway.cache.invalidation import Throttled
from gateway.cache.redis import UNCHANGED, UNKNOWN
from gateway.model import Id, Kind, Partition, Variant, plain_resource
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
    Side,
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


async def test_an_empty_redis_knows_nothing_and_gives_a_ticket(one: Side) -> None:
    lookup = await one.look(ALBUMS, ONE, TWO)
    assert lookup.version == b"0"
    assert not lookup.found
    assert lookup.admitted


@pytest.mark.parametrize(
    "resource", [None, LIKED, DISLIKED, JSON], ids=["unrated", "liked", "disliked", "more"]
)
async def test_what_one_gateway_fetched_another_finds(one: Side, two: Side, resource: bytes | None) -> None:
    assert await one.keep(ALBUMS, {ONE: resource})
    found = (await two.look(ALBUMS, ONE)).found[ONE]
    assert found.resource == resource
    assert 0 <= found.age < 5
    assert found.cap is None
    assert not found.held


@pytest.mark.parametrize("kind", list(Kind))
async def test_plain_ratings_of_every_kind_come_back_as_apple_renders_them(one: Side, kind: Kind) -> None:
    id_ = Id("x.9")
    resource = plain_resource(kind, id_, -1)
    assert await one.keep(Partition(USER, kind), {id_: resource})
    assert await one.seen(Partition(USER, kind), id_) == resource


async def test_users_kinds_and_variants_share_nothing(one: Side) -> None:
    await one.keep(ALBUMS, {ONE: LIKED})
    for partition in (Partition(OTHER, Kind.ALBUMS), Partition(USER, Kind.SONGS), GERMAN):
        assert await one.seen(partition, ONE) == "miss"


async def test_a_lookup_of_thousands_of_ids_finds_each(one: Side) -> None:
    ids = [Id(str(number)) for number in range(2500)]
    assert await one.keep(ALBUMS, dict.fromkeys(ids))
    assert list((await one.look(ALBUMS, *ids)).found) == ids


async def test_a_fill_from_before_a_write_is_refused(one: Side, two: Side) -> None:
    before = await one.look(ALBUMS, ONE, TWO)
    await two.tier.begin(USER.key, Kind.ALBUMS, ONE)
    assert before.version is not None
    assert not await one.tier.fill(ALBUMS, before.version, {ONE: DISLIKED, TWO: None})
    assert not (await one.look(ALBUMS, ONE, TWO)).found


async def test_a_write_under_way_is_a_miss_with_its_stamp(one: Side, two: Side) -> None:
    await one.keep(ALBUMS, {ONE: DISLIKED, TWO: None})
    stamp = await two.tier.begin(USER.key, Kind.ALBUMS, ONE)
    lookup = await one.look(ALBUMS, ONE, TWO)
    assert lookup.marks == {ONE: stamp}
    assert list(lookup.found) == [TWO]


async def test_what_is_fetched_while_a_write_is_under_way_is_not_kept(one: Side, two: Side) -> None:
    await two.tier.begin(USER.key, Kind.ALBUMS, ONE)
    assert await one.keep(ALBUMS, {ONE: DISLIKED, TWO: None})
    assert list((await one.look(ALBUMS, ONE, TWO)).found) == [TWO]


async def test_a_written_value_is_held_over_every_variant(one: Side, two: Side) -> None:
    await one.keep(GERMAN, {ONE: JSON})
    assert await two.write(ALBUMS, ONE, LIKED) is True
    lookup = await one.look(ALBUMS, ONE)
    assert lookup.held == {ONE: LIKED}
    assert lookup.found[ONE].held
    assert 9 < lookup.found[ONE].held_seconds <= 10
    german = await one.look(GERMAN, ONE)
    assert german.held == {ONE: LIKED}
    assert not german.found


async def test_a_fetch_within_the_hold_does_not_replace_it(one: Side) -> None:
    await one.write(ALBUMS, ONE, LIKED)
    assert await one.keep(ALBUMS, {ONE: DISLIKED})
    assert await one.seen(ALBUMS, ONE) == LIKED


async def test_a_removed_rating_is_held_like_any_other(one: Side) -> None:
    await one.keep(ALBUMS, {ONE: LIKED})
    await one.write(ALBUMS, ONE, None)
    assert (await one.look(ALBUMS, ONE)).held == {ONE: None}


async def test_a_refused_write_leaves_nothing_and_keeps_nobody_out(one: Side) -> None:
    await one.keep(ALBUMS, {ONE: LIKED})
    assert await one.write(ALBUMS, ONE, UNCHANGED) is False
    assert await one.seen(ALBUMS, ONE) == "miss"
    assert await one.keep(ALBUMS, {ONE: LIKED})
    assert await one.seen(ALBUMS, ONE) == LIKED


async def test_a_refused_write_does_not_end_the_hold_of_the_one_before(one: Side) -> None:
    await one.write(ALBUMS, ONE, LIKED)
    stamp = await one.tier.begin(USER.key, Kind.ALBUMS, ONE)
    assert await one.seen(ALBUMS, ONE) == LIKED
    await one.tier.end(USER.key, Kind.ALBUMS, ONE, stamp, UNCHANGED)
    assert await one.seen(ALBUMS, ONE) == LIKED


async def test_after_a_write_of_unknown_end_nothing_is_kept_for_a_while(one: Side) -> None:
    await one.write(ALBUMS, ONE, UNKNOWN)
    await one.keep(ALBUMS, {ONE: LIKED})
    assert await one.seen(ALBUMS, ONE) == "miss"


async def test_writes_that_overlap_end_in_a_drop(one: Side, two: Side) -> None:
    first = await one.tier.begin(USER.key, Kind.ALBUMS, ONE)
    second = await two.tier.begin(USER.key, Kind.ALBUMS, ONE)
    assert await one.tier.end(USER.key, Kind.ALBUMS, ONE, first, LIKED) is False
    assert await two.tier.end(USER.key, Kind.ALBUMS, ONE, second, DISLIKED) is False
    lookup = await one.look(ALBUMS, ONE)
    assert not lookup.found
    assert not lookup.held
    assert ONE in lookup.marks


async def test_a_write_makes_the_twin_kind_ask_apple(one: Side, two: Side) -> None:
    await one.keep(LIBRARY, {ONE: LIKED})
    await two.write(ALBUMS, TWO, LIKED)
    lookup = await one.look(LIBRARY, ONE)
    assert lookup.found[ONE].cap == 0
    assert lookup.twin_mark


async def test_what_the_twin_kind_fetches_within_the_hold_is_fresh_no_longer(one: Side) -> None:
    await one.write(ALBUMS, TWO, LIKED)
    lookup = await one.look(LIBRARY, ONE)
    assert lookup.cap is not None
    assert 9 < lookup.cap <= 10


async def test_a_purge_drops_ratings_in_every_variant_and_voids_fetches(one: Side, two: Side) -> None:
    await one.keep(ALBUMS, {ONE: LIKED, TWO: None})
    await one.keep(GERMAN, {ONE: JSON})
    before = await one.look(ALBUMS, THREE)
    assert await two.tier.purge(USER.key, None, None)
    assert before.version is not None
    assert not await one.tier.fill(ALBUMS, before.version, {THREE: None})
    for partition in (ALBUMS, GERMAN):
        assert not (await one.look(partition, ONE, TWO, THREE)).found


async def test_a_purge_of_some_ids_leaves_the_others(one: Side) -> None:
    await one.keep(ALBUMS, {ONE: LIKED, TWO: None})
    await one.keep(GERMAN, {ONE: JSON, TWO: None})
    assert await one.tier.purge(USER.key, Kind.ALBUMS, [ONE])
    for partition in (ALBUMS, GERMAN):
        assert list((await one.look(partition, ONE, TWO)).found) == [TWO]


async def test_a_purge_of_no_ids_changes_nothing(one: Side) -> None:
    await one.keep(ALBUMS, {ONE: LIKED})
    assert await one.tier.purge(USER.key, Kind.ALBUMS, [])
    assert await one.seen(ALBUMS, ONE) == LIKED


async def test_a_purge_does_not_break_the_promise_of_a_write(one: Side) -> None:
    await one.write(ALBUMS, ONE, LIKED)
    await one.tier.purge(USER.key, None, None)
    assert await one.seen(ALBUMS, ONE) == LIKED


async def test_eight_variants_are_kept_and_a_ninth_is_not(one: Side) -> None:
    partitions = [Partition(USER, Kind.ALBUMS, Variant(f"l={number}")) for number in range(9)]
    for partition in partitions[:8]:
        assert (await one.look(partition, ONE)).admitted
        assert await one.keep(partition, {ONE: JSON})
    ninth = await one.look(partitions[8], ONE)
    assert not ninth.admitted
    assert ninth.version is not None
    assert not await one.tier.fill(partitions[8], ninth.version, {ONE: JSON})
    assert await one.seen(partitions[8], ONE) == "miss"
    assert (await one.look(partitions[0], ONE)).admitted


async def test_publishing_harms_nobody_where_no_one_listens(one: Side) -> None:
    await one.tier.publish(Throttled(1.0))
    assert not one.errors("response")
