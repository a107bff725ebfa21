"""What lies in Redis: keys, bytes, bounds, expiry; and what is made of hashes that are not as they should."""

import hashlib
from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from gateway.breaker import State
from gateway.cache.redis.keys import Keys, owner_tag, variant_name
from gateway.cache.redis.retry_queue import Undelivered
from gateway.model import Id, Kind, Partition, Variant, plain_resource
from tests.cache.redis.harness import (
    ALBUMS,
    GERMAN,
    LIBRARY,
    LIKED,
    ONE,
    OTHER,
    THREE,
    TWO,
    USER,
    Side,
    age,
    side_of,
)
from tests.redis_server import RedisServer
from tests.waiting import until

pytestmark = pytest.mark.redis_server

MAIN = Keys("ratings").main(USER.key, Kind.ALBUMS)
VARIANT = f"{MAIN}:{variant_name(GERMAN.variant)}"


def aged(client: Redis, key: str, id_: str, seconds: float) -> None:
    """Make a cell older, as if it had been stored earlier (below 0: later)."""
    cell = client.hget(key, id_)
    assert isinstance(cell, bytes)
    ticks = int.from_bytes(cell[2:7]) - round(seconds * 100)
    client.hset(key, id_, cell[:2] + ticks.to_bytes(5) + cell[7:])


def more(id_: Id) -> bytes:
    """A resource that is kept as its JSON."""
    return plain_resource(Kind.ALBUMS, id_, 1).replace(b"}}", b'},"more":1}')


def connections(client: Redis) -> set[str]:
    return {each["id"] for each in client.client_list()}


@pytest.fixture
def inside(server: RedisServer) -> Iterator[Redis]:
    with server.client() as client:
        yield client


async def test_keys_name_namespace_user_kind_and_variant(side: Side, inside: Redis) -> None:
    await side.keep(ALBUMS, {ONE: LIKED})
    await side.keep(GERMAN, {ONE: LIKED})
    digest = hashlib.sha256(USER.token.encode()).hexdigest()[:32]
    assert f"ratings:{{{digest}}}:albums" == MAIN
    assert sorted(inside.keys()) == sorted([MAIN.encode(), VARIANT.encode()])


async def test_the_user_token_is_in_no_key_and_no_value(side: Side, inside: Redis) -> None:
    await side.keep(ALBUMS, {ONE: LIKED, TWO: more(TWO)})
    await side.keep(GERMAN, {ONE: None})
    await side.write(ALBUMS, THREE, None)
    for key in inside.scan_iter():
        kept = repr(key) + repr(inside.hgetall(key))
        assert USER.token not in kept
        assert hashlib.sha256(USER.token.encode()).hexdigest()[32:] not in kept


async def test_every_key_has_an_expiry_that_outlives_what_is_in_it(side: Side, inside: Redis) -> None:
    await side.keep(ALBUMS, {ONE: LIKED})
    await side.keep(GERMAN, {ONE: LIKED})
    await side.write(ALBUMS, TWO, None)
    await side.tier.purge(OTHER.key, None, None)
    lasting = [inside.pttl(key) for key in inside.scan_iter()]
    assert len(lasting) == 3 + len(Kind)
    assert min(lasting) > 86_700_000


async def test_each_store_renews_the_expiry(side: Side, inside: Redis) -> None:
    await side.keep(ALBUMS, {ONE: LIKED})
    await side.keep(GERMAN, {ONE: LIKED})
    inside.pexpire(MAIN, 60_000)
    inside.pexpire(VARIANT, 60_000)
    await side.keep(GERMAN, {TWO: LIKED})
    assert min(inside.pttl(MAIN), inside.pttl(VARIANT)) > 86_700_000


@pytest.mark.parametrize("partition", [ALBUMS, GERMAN])
async def test_ages_follow_redis_own_time(side: Side, inside: Redis, partition: Partition) -> None:
    await side.keep(partition, {ONE: LIKED})
    aged(inside, MAIN if partition is ALBUMS else VARIANT, ONE, 300)
    assert 300 <= age((await side.look(partition, ONE)), ONE) < 305


@pytest.mark.parametrize("partition", [ALBUMS, GERMAN])
async def test_an_entry_past_its_lifetime_is_a_miss_and_dropped(
    side: Side, inside: Redis, partition: Partition
) -> None:
    key = MAIN if partition is ALBUMS else VARIANT
    await side.keep(partition, {ONE: LIKED, TWO: None, THREE: more(THREE)})
    aged(inside, key, ONE, 86_700)
    aged(inside, key, THREE, 86_700)
    assert list((await side.look(partition, ONE, TWO, THREE)).entries) == [TWO]
    await until(lambda: sorted(inside.hkeys(key)) == [b".", b"2"])


async def test_ten_thousand_entries_past_their_lifetime_are_dropped(side: Side, inside: Redis) -> None:
    ids = [Id(str(number)) for number in range(10_000)]
    await side.keep(ALBUMS, {ONE: LIKED})
    inside.hset(MAIN, mapping=dict.fromkeys(ids, b"\x01\x01" + bytes(5)))
    assert not (await side.look(ALBUMS, *ids)).entries
    await until(lambda: inside.hkeys(MAIN) == [b"."])
    assert side.errors("response") == 0


async def test_an_entry_renewed_before_its_drop_arrives_stays(side: Side, inside: Redis) -> None:
    await side.keep(ALBUMS, {ONE: LIKED})
    aged(inside, MAIN, ONE, 86_700)
    lookup = await side.look(ALBUMS, ONE)
    # On one connection in order: the fill overtakes the sweep, which has only been scheduled.
    assert isinstance(lookup.version, bytes)
    assert await side.tier.fill(ALBUMS, lookup.version, {ONE: LIKED})
    await side.look(ALBUMS, ONE)
    assert inside.hexists(MAIN, ONE)


async def test_an_entry_from_the_future_is_a_miss(side: Side, inside: Redis) -> None:
    await side.keep(ALBUMS, {ONE: LIKED, TWO: more(TWO)})
    aged(inside, MAIN, ONE, -60)
    aged(inside, MAIN, TWO, -60)
    assert not (await side.look(ALBUMS, ONE, TWO)).entries


async def test_an_entry_stored_while_the_lookup_was_under_way_is_of_now(side: Side, inside: Redis) -> None:
    await side.keep(ALBUMS, {ONE: LIKED})
    aged(inside, MAIN, ONE, -0.5)
    assert age((await side.look(ALBUMS, ONE)), ONE) == 0


async def test_an_unknown_format_is_a_miss_and_may_be_overwritten(side: Side, inside: Redis) -> None:
    await side.keep(ALBUMS, {ONE: LIKED})
    cell = inside.hget(MAIN, ONE)
    assert isinstance(cell, bytes)
    inside.hset(MAIN, ONE, b"\x02" + cell[1:])
    assert await side.seen(ALBUMS, ONE) == "miss"
    assert await side.keep(ALBUMS, {ONE: LIKED})
    assert await side.seen(ALBUMS, ONE) == LIKED


@pytest.mark.parametrize("cell", [b"\x01", b"\x01\x01", b"\x01\x09" + bytes(5), b"\x01\x01" + bytes(6)])
async def test_a_cell_that_is_none_is_a_miss_and_counted(side: Side, inside: Redis, cell: bytes) -> None:
    await side.keep(ALBUMS, {ONE: LIKED})
    inside.hset(MAIN, TWO, cell)
    lookup = await side.look(ALBUMS, ONE, TWO)
    assert list(lookup.entries) == [ONE]
    assert side.errors("protocol") == 1
    await until(lambda: not inside.hexists(MAIN, TWO))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda cell: cell[:-1],
        lambda cell: cell.replace(b'"id":"2"', b'"id":"9"'),
        lambda cell: cell.replace(b"more", b"m\xffre"),
        lambda cell: cell.replace(b'"value":1', b'"value":2'),
        lambda cell: cell.replace(b'"attributes"', b'"attribute"'),
        lambda cell: cell.replace(b'"more":1', b'"more":' + 5000 * b"[" + 5000 * b"]"),
        lambda cell: cell[:7] + b"[1]",
        lambda cell: cell[:7],
    ],
)
async def test_json_that_is_no_rating_of_the_id_is_a_miss_and_counted(
    side: Side, inside: Redis, spoil: Callable[[bytes], bytes]
) -> None:
    await side.keep(ALBUMS, {ONE: LIKED, TWO: more(TWO)})
    cell = inside.hget(MAIN, TWO)
    assert isinstance(cell, bytes)
    inside.hset(MAIN, TWO, spoil(cell))
    assert list((await side.look(ALBUMS, ONE, TWO)).entries) == [ONE]
    assert side.errors("protocol") == 1
    assert await side.keep(ALBUMS, {TWO: more(TWO)})
    assert await side.seen(ALBUMS, TWO) == more(TWO)


@pytest.mark.parametrize("cell", [b"\x01", b"\x01\x81" + bytes(5), b"\x01\x04" + bytes(9)])
async def test_a_cell_that_is_none_keeps_no_write_out(side: Side, inside: Redis, cell: bytes) -> None:
    await side.keep(ALBUMS, {TWO: LIKED})
    inside.hset(MAIN, ONE, cell)
    assert await side.write(ALBUMS, ONE, LIKED)
    assert await side.seen(ALBUMS, ONE) == LIKED


@pytest.mark.parametrize("meta", [b"", b"version", b"1 2", b"1 2 3 x"])
async def test_meta_that_is_none_heals(side: Side, inside: Redis, meta: bytes) -> None:
    await side.keep(ALBUMS, {ONE: LIKED})
    inside.hset(MAIN, ".", owner_tag(USER.key, Kind.ALBUMS) + meta)
    before = connections(inside)
    assert (await side.look(ALBUMS, ONE)).version is None
    await until(lambda: connections(inside) - before)
    await until(lambda: side.link.state is State.CLOSED)
    assert await side.write(ALBUMS, ONE, LIKED)
    assert await side.seen(ALBUMS, ONE) == LIKED


@pytest.mark.parametrize("partition", [ALBUMS, GERMAN])
async def test_a_hash_of_another_owner_is_a_miss_closes_the_connection_and_is_dropped(
    side: Side, inside: Redis, partition: Partition
) -> None:
    await side.keep(partition, {ONE: LIKED})
    key = MAIN if partition is ALBUMS else VARIANT
    inside.hset(key, ".", owner_tag(OTHER.key, Kind.ALBUMS) + b"0")
    before = connections(inside)
    lookup = await side.look(partition, ONE)
    assert not lookup.entries
    assert lookup.version is None
    assert side.errors("owner") == 1
    await until(lambda: not inside.exists(key))
    assert connections(inside) - before
    assert await side.keep(partition, {ONE: LIKED})
    assert await side.seen(partition, ONE) == LIKED


async def test_ratings_without_an_owner_are_a_miss(side: Side, inside: Redis) -> None:
    await side.keep(ALBUMS, {ONE: LIKED})
    inside.hdel(MAIN, ".")
    assert (await side.look(ALBUMS, ONE)).version is None
    assert side.errors("owner") == 1


async def test_a_write_takes_over_a_hash_of_another_owner(side: Side, inside: Redis) -> None:
    inside.hset(MAIN, mapping={".": owner_tag(OTHER.key, Kind.ALBUMS) + b"0", TWO: b"\x01\x01" + bytes(5)})
    assert await side.write(ALBUMS, ONE, LIKED)
    assert await side.seen(ALBUMS, ONE) == LIKED
    assert not inside.hexists(MAIN, TWO)


async def test_a_version_is_not_used_twice_though_the_key_was_lost(side: Side, inside: Redis) -> None:
    first = await side.tier.begin(USER.key, Kind.ALBUMS, ONE)
    lookup = await side.look(ALBUMS, TWO)
    inside.flushall()
    second = await side.tier.begin(USER.key, Kind.ALBUMS, ONE)
    assert first is not None
    assert second is not None
    assert int(second) > int(first)
    assert isinstance(lookup.version, bytes)
    assert await side.tier.fill(ALBUMS, lookup.version, {TWO: None}) is False


async def test_beyond_the_bound_the_oldest_go(server: RedisServer, inside: Redis) -> None:
    ids = [Id(str(number)) for number in range(1, 31)]
    async with side_of(server.url, max_ratings_per_user=20) as side:
        await side.keep(ALBUMS, dict.fromkeys(ids[:20]))
        for number, id_ in enumerate(ids[:20]):
            aged(inside, MAIN, id_, 1000 - number)
        assert inside.hlen(MAIN) == 21
        await side.keep(ALBUMS, dict.fromkeys(ids[20:25]))
        kept = list((await side.look(ALBUMS, *ids)).entries)
    assert kept == ids[7:25]


async def test_beyond_the_bound_written_values_go_last(server: RedisServer, inside: Redis) -> None:
    ids = [Id(str(number)) for number in range(2, 30)]
    async with side_of(server.url, max_ratings_per_user=10) as side:
        await side.write(ALBUMS, ONE, LIKED)
        await side.keep(ALBUMS, dict.fromkeys(ids))
        assert await side.seen(ALBUMS, ONE) == LIKED
        assert len((await side.look(ALBUMS, ONE, *ids)).entries) == 9


async def test_writes_keep_within_the_bound(server: RedisServer, inside: Redis) -> None:
    ids = [Id(str(number)) for number in range(25)]
    async with side_of(server.url, max_ratings_per_user=10) as side:
        for id_ in ids:
            assert await side.write(ALBUMS, id_, None)
            assert inside.hlen(MAIN) <= 11
        assert ids[-1] in (await side.look(ALBUMS, *ids)).holds


async def test_writes_of_which_redis_hears_late_keep_within_the_bound(
    server: RedisServer, inside: Redis
) -> None:
    ids = {Id(str(number)): 1 for number in range(25)}
    async with side_of(server.url, max_ratings_per_user=10) as side:
        await side.tier._writes.forget((USER.key, Kind.ALBUMS), Undelivered(ids))
        assert inside.hlen(MAIN) <= 11


@pytest.mark.parametrize("written", [False, True])
async def test_of_a_bound_of_one_the_newest_stays(server: RedisServer, inside: Redis, written: bool) -> None:
    async with side_of(server.url, max_ratings_per_user=1) as side:
        await side.keep(ALBUMS, {ONE: LIKED})
        aged(inside, MAIN, ONE, 10)
        await (side.write(ALBUMS, TWO, None) if written else side.keep(ALBUMS, {TWO: None}))
        assert await side.seen(ALBUMS, TWO) is None
        assert await side.seen(ALBUMS, ONE) == "miss"


async def test_a_variant_that_expired_gives_its_place_free(side: Side, inside: Redis) -> None:
    partitions = [Partition(USER, Kind.ALBUMS, Variant(f"l={number}")) for number in range(9)]
    for partition in partitions[:8]:
        await side.keep(partition, {ONE: LIKED})
    inside.delete(f"{MAIN}:{variant_name(partitions[3].variant)}")
    assert (await side.look(partitions[8], ONE)).admitted
    assert await side.keep(partitions[8], {ONE: LIKED})
    assert await side.seen(partitions[8], ONE) == LIKED
    assert not (await side.look(partitions[3], ONE)).admitted


def unused(client: Redis, partition: Partition, seconds: float) -> None:
    """Let a variant have been unused for so long."""
    key = f"{MAIN}:{variant_name(partition.variant)}"
    client.pexpire(key, client.pttl(key) - round(seconds * 1000))


async def test_a_new_variant_takes_the_place_of_the_one_unused_longest(side: Side, inside: Redis) -> None:
    partitions = [Partition(USER, Kind.ALBUMS, Variant(f"l={number}")) for number in range(9)]
    for partition in partitions[:8]:
        await side.keep(partition, {ONE: more(ONE)})
    unused(inside, partitions[3], 310)
    unused(inside, partitions[5], 400)
    assert (await side.look(partitions[8], ONE)).admitted
    assert await side.keep(partitions[8], {ONE: more(ONE)})
    kept = [bool((await side.look(partition, ONE)).entries) for partition in partitions]
    assert kept == [True] * 5 + [False] + [True] * 3


async def test_a_variant_in_use_keeps_its_place(side: Side, inside: Redis) -> None:
    partitions = [Partition(USER, Kind.ALBUMS, Variant(f"l={number}")) for number in range(9)]
    for partition in partitions[:8]:
        await side.keep(partition, {ONE: more(ONE)})
        unused(inside, partition, 310)
        await side.look(partition, ONE)
    assert not (await side.look(partitions[8], ONE)).admitted
    assert not await side.keep(partitions[8], {ONE: more(ONE)})


async def test_a_variant_that_lost_its_place_is_believed_no_more(side: Side, inside: Redis) -> None:
    await side.keep(GERMAN, {ONE: LIKED, TWO: LIKED})
    inside.delete(MAIN)
    assert not (await side.look(GERMAN, ONE)).entries
    await side.keep(GERMAN, {TWO: None})
    assert list((await side.look(GERMAN, ONE, TWO)).entries) == [TWO]


async def test_the_twin_of_a_kind_lies_beside_it(side: Side, inside: Redis) -> None:
    await side.write(ALBUMS, ONE, LIKED)
    assert inside.exists(Keys("ratings").main(USER.key, LIBRARY.kind))


@pytest.mark.parametrize(("ratings", "bound"), [(100, 25.0), (2000, 80.0)])
async def test_a_plain_rating_costs_few_bytes(
    side: Side, inside: Redis, record_property: Callable[[str, object], None], ratings: int, bound: float
) -> None:
    users = 200_000 // ratings // 10
    # The scripts' own memory is taken once, by whoever fills first.
    assert await side.keep(ALBUMS, {ONE: LIKED})
    inside.memory_purge()
    before = inside.info("memory")["used_memory"]
    for number in range(users):
        key = number.to_bytes(16)
        partition = Partition(type(USER)("", key), Kind.ALBUMS)
        ids = [Id(str(1_440_000_000 + 7919 * n)) for n in range(ratings)]
        kept = {id_: (None, 1, -1)[n % 3] for n, id_ in enumerate(ids)}
        assert await side.tier.fill(partition, b"0", kept)
    cost = (inside.info("memory")["used_memory"] - before) / (users * ratings)
    record_property("bytes a rating", round(cost, 1))
    assert cost <= bound


async def test_lost_scripts_are_sent_again(side: Side, inside: Redis) -> None:
    await side.keep(ALBUMS, {ONE: LIKED})
    inside.script_flush()
    assert await side.write(ALBUMS, TWO, None) is True
