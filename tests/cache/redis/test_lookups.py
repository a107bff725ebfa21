"""Lookups on a real Redis: ages, expired and malformed fields, unsound keys, places of variants."""

from collections.abc import Callable

import pytest
from redis import Redis

from gateway.cache.redis import scripts
from gateway.cache.redis.layout import Keys, owner_tag, variant_name
from gateway.cache.redis.scripts import Script
from gateway.model import Id, Kind, Partition, Variant
from tests.cache.redis.harness import (
    ALBUMS,
    GERMAN,
    LIKED,
    MAIN,
    ONE,
    OTHER,
    THREE,
    TWO,
    USER,
    VARIANT,
    Side,
    age,
    aged,
    more,
)
from tests.cache.redis.unsound import SPOILS, Spoil, with_meta, without_meta
from tests.waiting import until

pytestmark = pytest.mark.redis_server

TAG = owner_tag(USER.key, Kind.ALBUMS)
KEYS = pytest.mark.parametrize(
    ("partition", "key"), [(ALBUMS, MAIN), (GERMAN, VARIANT)], ids=["plain", "variant"]
)


class TestAges:
    @KEYS
    async def test_they_follow_redis_clock(
        self, side: Side, client: Redis, partition: Partition, key: str
    ) -> None:
        await side.keep(partition, {ONE: LIKED})
        aged(client, key, ONE, 300)
        assert 300 <= age((await side.look(partition, ONE)), ONE) < 305

    async def test_an_entry_from_the_future_is_a_miss(self, side: Side, client: Redis) -> None:
        await side.keep(ALBUMS, {ONE: LIKED, TWO: more(TWO)})
        aged(client, MAIN, ONE, -60)
        aged(client, MAIN, TWO, -60)
        assert not (await side.look(ALBUMS, ONE, TWO)).entries

    async def test_an_entry_stored_during_the_lookup_has_age_0(self, side: Side, client: Redis) -> None:
        await side.keep(ALBUMS, {ONE: LIKED})
        aged(client, MAIN, ONE, -0.5)
        assert age((await side.look(ALBUMS, ONE)), ONE) == 0


class TestExpiredEntries:
    @KEYS
    async def test_they_are_misses_and_deleted(
        self, side: Side, client: Redis, partition: Partition, key: str
    ) -> None:
        await side.keep(partition, {ONE: LIKED, TWO: None, THREE: more(THREE)})
        aged(client, key, ONE, 86_700)
        aged(client, key, THREE, 86_700)
        assert list((await side.look(partition, ONE, TWO, THREE)).entries) == [TWO]
        await until(lambda: sorted(client.hkeys(key)) == [b".", b"2"])

    async def test_ten_thousand_are_deleted_without_an_error(self, side: Side, client: Redis) -> None:
        ids = [Id(str(number)) for number in range(10_000)]
        await side.keep(ALBUMS, {ONE: LIKED})
        client.hset(MAIN, mapping=dict.fromkeys(ids, b"\x01\x01" + bytes(5)))
        assert not (await side.look(ALBUMS, *ids)).entries
        await until(lambda: client.hkeys(MAIN) == [b"."])
        assert side.errors("response") == 0

    async def test_one_that_is_renewed_before_its_deletion_stays(self, side: Side, client: Redis) -> None:
        await side.keep(ALBUMS, {ONE: LIKED})
        aged(client, MAIN, ONE, 86_700)
        lookup = await side.look(ALBUMS, ONE)
        # On one connection in order: the fill overtakes the sweep, which has only been scheduled.
        assert isinstance(lookup.shared_version, bytes)
        assert await side.store.fill(ALBUMS, lookup.shared_version, {ONE: LIKED})
        await side.look(ALBUMS, ONE)
        assert client.hexists(MAIN, ONE)

    async def test_a_deletion_that_fails_is_counted(
        self, side: Side, client: Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(scripts, "SWEEP", Script("sweep", "return redis.error_reply('no')"))
        await side.keep(ALBUMS, {ONE: LIKED})
        aged(client, MAIN, ONE, 86_700)
        await side.look(ALBUMS, ONE)
        await until(lambda: side.errors("response") == 1)


class TestMalformedFields:
    async def test_an_unknown_format_is_a_miss_and_may_be_overwritten(
        self, side: Side, client: Redis
    ) -> None:
        await side.keep(ALBUMS, {ONE: LIKED})
        field = client.hget(MAIN, ONE)
        assert isinstance(field, bytes)
        client.hset(MAIN, ONE, b"\x02" + field[1:])
        assert await side.seen(ALBUMS, ONE) == "miss"
        assert await side.keep(ALBUMS, {ONE: LIKED})
        assert await side.seen(ALBUMS, ONE) == LIKED

    @pytest.mark.parametrize("field", [b"\x01", b"\x01\x01", b"\x01\x09" + bytes(5), b"\x01\x01" + bytes(6)])
    async def test_a_malformed_field_is_a_miss_counted_and_deleted(
        self, side: Side, client: Redis, field: bytes
    ) -> None:
        await side.keep(ALBUMS, {ONE: LIKED})
        client.hset(MAIN, TWO, field)
        lookup = await side.look(ALBUMS, ONE, TWO)
        assert list(lookup.entries) == [ONE]
        assert side.errors("protocol") == 1
        await until(lambda: not client.hexists(MAIN, TWO))

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda field: field[:-1],
            lambda field: field.replace(b'"id":"2"', b'"id":"9"'),
            lambda field: field.replace(b"more", b"m\xffre"),
            lambda field: field.replace(b'"value":1', b'"value":2'),
            lambda field: field.replace(b'"attributes"', b'"attribute"'),
            lambda field: field.replace(b'"more":1', b'"more":' + 5000 * b"[" + 5000 * b"]"),
            lambda field: field[:7] + b"[1]",
            lambda field: field[:7],
        ],
        ids=[
            "cut off",
            "another id",
            "not UTF-8",
            "value out of range",
            "no attributes",
            "too deep",
            "not an object",
            "empty",
        ],
    )
    async def test_json_that_is_not_a_rating_of_the_id_is_a_miss_and_counted(
        self, side: Side, client: Redis, spoil: Callable[[bytes], bytes]
    ) -> None:
        await side.keep(ALBUMS, {ONE: LIKED, TWO: more(TWO)})
        field = client.hget(MAIN, TWO)
        assert isinstance(field, bytes)
        client.hset(MAIN, TWO, spoil(field))
        assert list((await side.look(ALBUMS, ONE, TWO)).entries) == [ONE]
        assert side.errors("protocol") == 1
        assert await side.keep(ALBUMS, {TWO: more(TWO)})
        assert await side.seen(ALBUMS, TWO) == more(TWO)


SPOILS_OF_MAIN: dict[str, Spoil] = {
    "no version": with_meta(TAG),
    "no number": with_meta(TAG + b"version"),
    "too few numbers": with_meta(TAG + b"1 2"),
    "a word among the numbers": with_meta(TAG + b"1 2 3 x"),
}
UNSOUND = [
    *(
        pytest.param(partition, key, spoil, id=f"{'variant' if key == VARIANT else 'main'}-{name}")
        for partition, key in ((ALBUMS, MAIN), (GERMAN, MAIN), (GERMAN, VARIANT))
        for name, spoil in SPOILS.items()
        if not (key == MAIN and partition is GERMAN and spoil is without_meta)  # an empty hash is no key
    ),
    *(pytest.param(ALBUMS, MAIN, spoil, id=name) for name, spoil in SPOILS_OF_MAIN.items()),
]


def connections(client: Redis) -> set[str]:
    return {each["id"] for each in client.client_list()}


class TestUnsoundKeys:
    """Keys that are not a hash of their owner."""

    @pytest.mark.parametrize(("partition", "key", "spoil"), UNSOUND)
    async def test_a_lookup_deletes_an_unsound_key(
        self, side: Side, client: Redis, partition: Partition, key: str, spoil: Spoil
    ) -> None:
        await side.keep(partition, {ONE: LIKED})
        spoil(client, key)
        assert (await side.look(partition, ONE)).shared_version is None
        await until(lambda: not client.exists(key))
        assert await side.keep(partition, {ONE: LIKED})
        assert await side.seen(partition, ONE) == LIKED

    @KEYS
    async def test_a_hash_of_another_owner_is_counted_and_closes_the_connection(
        self, side: Side, client: Redis, partition: Partition, key: str
    ) -> None:
        await side.keep(partition, {ONE: LIKED})
        client.hset(key, ".", owner_tag(OTHER.key, Kind.ALBUMS) + b"0")
        before = connections(client)
        lookup = await side.look(partition, ONE)
        assert (lookup.entries, lookup.shared_version) == ({}, None)
        assert side.errors("owner") == 1
        await until(lambda: connections(client) - before)

    async def test_a_sound_key_is_kept(self, side: Side, client: Redis) -> None:
        """A reply of another owner may come from a mixed-up connection: Redis checks before it deletes."""
        await side.keep(GERMAN, {ONE: LIKED})
        await side.write(ALBUMS, TWO, None)
        spoiled = Keys("ratings").main(OTHER.key, Kind.ALBUMS)
        client.set(spoiled, "text")
        await side.look(Partition(OTHER, Kind.ALBUMS, GERMAN.variant), ONE)
        await until(lambda: not client.exists(spoiled))
        assert await side.seen(GERMAN, ONE) == LIKED
        assert await side.seen(ALBUMS, TWO) is None


class TestPlacesOfVariants:
    """Eight variants of a user and type are cached."""

    NINE = tuple(Partition(USER, Kind.ALBUMS, Variant(f"l={number}")) for number in range(9))

    async def test_an_expired_variant_frees_its_place(self, side: Side, client: Redis) -> None:
        for partition in self.NINE[:8]:
            await side.keep(partition, {ONE: LIKED})
        client.delete(f"{MAIN}:{variant_name(self.NINE[3].variant)}")
        assert (await side.look(self.NINE[8], ONE)).admitted
        assert await side.keep(self.NINE[8], {ONE: LIKED})
        assert await side.seen(self.NINE[8], ONE) == LIKED
        assert not (await side.look(self.NINE[3], ONE)).admitted

    async def test_a_new_variant_replaces_the_one_unused_longest(self, side: Side, client: Redis) -> None:
        for partition in self.NINE[:8]:
            await side.keep(partition, {ONE: more(ONE)})
        self.leave_unused(client, self.NINE[3], 310)
        self.leave_unused(client, self.NINE[5], 400)
        assert (await side.look(self.NINE[8], ONE)).admitted
        assert await side.keep(self.NINE[8], {ONE: more(ONE)})
        kept = [bool((await side.look(partition, ONE)).entries) for partition in self.NINE]
        assert kept == [True] * 5 + [False] + [True] * 3

    async def test_a_variant_in_use_is_not_replaced(self, side: Side, client: Redis) -> None:
        for partition in self.NINE[:8]:
            await side.keep(partition, {ONE: more(ONE)})
            self.leave_unused(client, partition, 310)
            await side.look(partition, ONE)
        assert not (await side.look(self.NINE[8], ONE)).admitted
        assert not await side.keep(self.NINE[8], {ONE: more(ONE)})

    async def test_entries_of_a_variant_that_lost_its_place_are_not_served(
        self, side: Side, client: Redis
    ) -> None:
        await side.keep(GERMAN, {ONE: LIKED, TWO: LIKED})
        client.delete(MAIN)
        assert not (await side.look(GERMAN, ONE)).entries
        await side.keep(GERMAN, {TWO: None})
        assert list((await side.look(GERMAN, ONE, TWO)).entries) == [TWO]

    def leave_unused(self, client: Redis, partition: Partition, seconds: float) -> None:
        """Make a variant look as if it was last used `seconds` ago."""
        key = f"{MAIN}:{variant_name(partition.variant)}"
        client.pexpire(key, client.pttl(key) - round(seconds * 1000))
