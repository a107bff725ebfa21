"""What fills, writes and purges leave in a real Redis: content, size, expiry, bounds."""

import hashlib
from collections.abc import Callable

import pytest
from redis import Redis

from gateway.cache.redis.layout import Keys, owner_tag
from gateway.cache.redis.retry_queue import Undelivered
from gateway.cache.redis.writes import Writes
from gateway.model import Id, Kind, Partition
from tests.cache.redis.harness import (
    ALBUMS,
    GERMAN,
    LIBRARY,
    LIKED,
    MAIN,
    ONE,
    OTHER,
    THREE,
    TWO,
    USER,
    VARIANT,
    WRITE_SECONDS,
    Side,
    aged,
    commands_on,
    limits,
    more,
    side_of,
)
from tests.cache.redis.unsound import SPOILS, Spoil, as_list, as_string
from tests.redis_server import RedisServer

pytestmark = pytest.mark.redis_server


class TestStored:
    async def test_the_user_token_is_in_no_key_and_no_value(self, side: Side, client: Redis) -> None:
        await side.keep(ALBUMS, {ONE: LIKED, TWO: more(TWO)})
        await side.keep(GERMAN, {ONE: None})
        await side.write(ALBUMS, THREE, None)
        for key in client.scan_iter():
            stored = repr(key) + repr(client.hgetall(key))
            assert USER.token not in stored
            assert hashlib.sha256(USER.token.encode()).hexdigest()[32:] not in stored

    async def test_a_variant_has_a_key_beside_the_plain_ratings(self, side: Side, client: Redis) -> None:
        await side.keep(ALBUMS, {ONE: LIKED})
        await side.keep(GERMAN, {ONE: LIKED})
        assert sorted(client.keys()) == sorted([MAIN.encode(), VARIANT.encode()])

    async def test_a_write_leaves_a_marker_at_the_paired_type(self, side: Side, client: Redis) -> None:
        await side.write(ALBUMS, ONE, LIKED)
        assert client.exists(Keys("ratings").main(USER.key, LIBRARY.kind))

    @pytest.mark.parametrize(("ratings", "bound"), [(100, 25.0), (2000, 80.0)])
    async def test_a_plain_rating_takes_few_bytes(
        self,
        side: Side,
        client: Redis,
        record_property: Callable[[str, object], None],
        ratings: int,
        bound: float,
    ) -> None:
        users = 200_000 // ratings // 10
        # The first fill also pays for the memory of the scripts.
        assert await side.keep(ALBUMS, {ONE: LIKED})
        client.memory_purge()
        before = client.info("memory")["used_memory"]
        for number in range(users):
            partition = Partition(type(USER)("", number.to_bytes(16)), Kind.ALBUMS)
            ids = [Id(str(1_440_000_000 + 7919 * n)) for n in range(ratings)]
            stored = {id_: (None, 1, -1)[n % 3] for n, id_ in enumerate(ids)}
            assert await side.store.fill(partition, b"0", stored)
        cost = (client.info("memory")["used_memory"] - before) / (users * ratings)
        record_property("bytes a rating", round(cost, 1))
        assert cost <= bound


class TestExpiry:
    async def test_every_key_expires_after_all_that_is_in_it(self, side: Side, client: Redis) -> None:
        await side.keep(ALBUMS, {ONE: LIKED})
        await side.keep(GERMAN, {ONE: LIKED})
        await side.write(ALBUMS, TWO, None)
        await side.store.purge(OTHER.key, None, None)
        left = [client.pttl(key) for key in client.scan_iter()]
        assert len(left) == 3 + len(Kind)
        assert min(left) > 86_700_000

    async def test_each_fill_renews_it(self, side: Side, client: Redis) -> None:
        await side.keep(ALBUMS, {ONE: LIKED})
        await side.keep(GERMAN, {ONE: LIKED})
        client.pexpire(MAIN, 60_000)
        client.pexpire(VARIANT, 60_000)
        await side.keep(GERMAN, {TWO: LIKED})
        assert min(client.pttl(MAIN), client.pttl(VARIANT)) > 86_700_000


class TestBound:
    """`cache.max_ratings_per_user`."""

    async def test_beyond_it_the_oldest_are_dropped(self, server: RedisServer, client: Redis) -> None:
        ids = [Id(str(number)) for number in range(1, 31)]
        async with side_of(server.url, max_ratings_per_user=20) as side:
            await side.keep(ALBUMS, dict.fromkeys(ids[:20]))
            for number, id_ in enumerate(ids[:20]):
                aged(client, MAIN, id_, 1000 - number)
            assert client.hlen(MAIN) == 21
            await side.keep(ALBUMS, dict.fromkeys(ids[20:25]))
            left = list((await side.look(ALBUMS, *ids)).entries)
        assert left == ids[7:25]

    async def test_beyond_it_written_values_are_dropped_last(self, server: RedisServer) -> None:
        ids = [Id(str(number)) for number in range(2, 30)]
        async with side_of(server.url, max_ratings_per_user=10) as side:
            await side.write(ALBUMS, ONE, LIKED)
            await side.keep(ALBUMS, dict.fromkeys(ids))
            assert await side.seen(ALBUMS, ONE) == LIKED
            assert len((await side.look(ALBUMS, ONE, *ids)).entries) == 9

    async def test_writes_keep_it(self, server: RedisServer, client: Redis) -> None:
        ids = [Id(str(number)) for number in range(25)]
        async with side_of(server.url, max_ratings_per_user=10) as side:
            for id_ in ids:
                assert await side.write(ALBUMS, id_, None)
                assert client.hlen(MAIN) <= 11
            assert ids[-1] in (await side.look(ALBUMS, *ids)).holds

    async def test_replayed_writes_keep_it(self, server: RedisServer, client: Redis) -> None:
        ids = {Id(str(number)): 1 for number in range(25)}
        async with commands_on(server.url) as commands:
            writes = Writes(commands, Keys("ratings"), limits(max_ratings_per_user=10), "one", lambda: False)
            await writes.replay((USER.key, Kind.ALBUMS), Undelivered(ids))
        assert 0 < client.hlen(MAIN) <= 11

    @pytest.mark.parametrize("written", [False, True])
    async def test_with_a_bound_of_one_the_newest_stays(
        self, server: RedisServer, client: Redis, written: bool
    ) -> None:
        async with side_of(server.url, max_ratings_per_user=1) as side:
            await side.keep(ALBUMS, {ONE: LIKED})
            aged(client, MAIN, ONE, 10)
            await (side.write(ALBUMS, TWO, None) if written else side.keep(ALBUMS, {TWO: None}))
            assert await side.seen(ALBUMS, TWO) is None
            assert await side.seen(ALBUMS, ONE) == "miss"


async def test_a_version_is_not_reused_after_the_key_was_lost(side: Side, client: Redis) -> None:
    first = await side.store.begin((USER.key, Kind.ALBUMS), ONE, WRITE_SECONDS)
    lookup = await side.look(ALBUMS, TWO)
    client.flushall()
    second = await side.store.begin((USER.key, Kind.ALBUMS), ONE, WRITE_SECONDS)
    assert first is not None
    assert second is not None
    assert int(second) > int(first)
    assert isinstance(lookup.shared_version, bytes)
    assert await side.store.fill(ALBUMS, lookup.shared_version, {TWO: None}) is False


class TestUnsound:
    """Keys and fields that are not as they should be do not stop a write or a fill."""

    @pytest.mark.parametrize("field", [b"\x01", b"\x01\x81" + bytes(5), b"\x01\x04" + bytes(9)])
    async def test_a_write_replaces_a_malformed_field(self, side: Side, client: Redis, field: bytes) -> None:
        await side.keep(ALBUMS, {TWO: LIKED})
        client.hset(MAIN, ONE, field)
        assert await side.write(ALBUMS, ONE, LIKED)
        assert await side.seen(ALBUMS, ONE) == LIKED

    @pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS.keys())
    async def test_a_write_replaces_an_unsound_main_key(
        self, side: Side, client: Redis, spoil: Spoil
    ) -> None:
        await side.keep(ALBUMS, {TWO: LIKED})
        spoil(client, MAIN)
        assert await side.write(ALBUMS, ONE, LIKED) is True
        assert await side.seen(ALBUMS, ONE) == LIKED
        assert not client.hexists(MAIN, TWO)

    @pytest.mark.parametrize("spoil", [as_string, as_list])
    async def test_a_write_deletes_a_variant_that_is_not_a_hash(
        self, side: Side, client: Redis, spoil: Spoil
    ) -> None:
        await side.keep(GERMAN, {ONE: LIKED})
        spoil(client, VARIANT)
        assert await side.write(ALBUMS, ONE, LIKED) is True
        assert not client.exists(VARIANT)
        assert await side.seen(ALBUMS, ONE) == LIKED

    @pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS.keys())
    async def test_a_fill_replaces_an_unsound_variant(self, side: Side, client: Redis, spoil: Spoil) -> None:
        await side.keep(GERMAN, {TWO: LIKED})
        version = (await side.look(GERMAN, ONE)).shared_version
        assert isinstance(version, bytes)
        spoil(client, VARIANT)
        assert await side.store.fill(GERMAN, version, {ONE: LIKED}) is True
        assert client.hget(VARIANT, ".") == owner_tag(USER.key, Kind.ALBUMS, GERMAN.variant)
        assert not client.hexists(VARIANT, TWO)
