"""A key that is no hash of its owner is a miss once: the lookup, fill or write that meets it deletes it."""

from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from gateway.cache.redis.keys import Keys, owner_tag, variant_name
from gateway.model import Kind, Partition
from tests.cache.redis.harness import ALBUMS, GERMAN, LIKED, ONE, OTHER, TWO, USER, Side
from tests.redis_server import RedisServer
from tests.waiting import until

pytestmark = pytest.mark.redis_server

MAIN = Keys("ratings").main(USER.key, Kind.ALBUMS)
VARIANT = f"{MAIN}:{variant_name(GERMAN.variant)}"
TAG = owner_tag(USER.key, Kind.ALBUMS)
VARIANT_TAG = owner_tag(USER.key, Kind.ALBUMS, GERMAN.variant)

Spoil = Callable[[Redis, str], object]


@pytest.fixture
def inside(server: RedisServer) -> Iterator[Redis]:
    with server.client() as client:
        yield client


def as_string(client: Redis, key: str) -> None:
    client.set(key, "text")


def as_list(client: Redis, key: str) -> None:
    client.delete(key)
    client.rpush(key, "text")


def meta(value: bytes) -> Spoil:
    def spoil(client: Redis, key: str) -> None:
        client.hset(key, ".", value)

    return spoil


def without_meta(client: Redis, key: str) -> None:
    client.hdel(key, ".")


COMMON: dict[str, Spoil] = {
    "string": as_string,
    "list": as_list,
    "no owner's tag": without_meta,
    "another owner's tag": meta(owner_tag(OTHER.key, Kind.ALBUMS) + b"0"),
    "garbage": meta(b"\xff\x00"),
}
MAIN_ONLY: dict[str, Spoil] = {
    "no version": meta(TAG),
    "no number": meta(TAG + b"version"),
    "too few numbers": meta(TAG + b"1 2"),
    "a word among the numbers": meta(TAG + b"1 2 3 x"),
}
CASES = [
    *(
        pytest.param(partition, key, spoil, id=f"{'variant' if key == VARIANT else 'main'}-{name}")
        for partition, key in ((ALBUMS, MAIN), (GERMAN, MAIN), (GERMAN, VARIANT))
        for name, spoil in COMMON.items()
        if not (key == MAIN and partition is GERMAN and spoil is without_meta)  # an empty hash is no key
    ),
    *(pytest.param(ALBUMS, MAIN, spoil, id=name) for name, spoil in MAIN_ONLY.items()),
]


async def recovers(side: Side, partition: Partition) -> bool:
    """Whether the partition is cached again."""
    return bool(await side.keep(partition, {ONE: LIKED}) and await side.seen(partition, ONE) == LIKED)


@pytest.mark.parametrize(("partition", "key", "spoil"), CASES)
async def test_a_lookup_deletes_an_unsound_key(
    side: Side, inside: Redis, partition: Partition, key: str, spoil: Spoil
) -> None:
    await side.keep(partition, {ONE: LIKED})
    spoil(inside, key)
    assert (await side.look(partition, ONE)).version is None
    await until(lambda: not inside.exists(key))
    assert await recovers(side, partition)


@pytest.mark.parametrize("spoil", COMMON.values(), ids=COMMON.keys())
async def test_a_write_replaces_an_unsound_main_key(side: Side, inside: Redis, spoil: Spoil) -> None:
    await side.keep(ALBUMS, {TWO: LIKED})
    spoil(inside, MAIN)
    assert await side.write(ALBUMS, ONE, LIKED) is True
    assert await side.seen(ALBUMS, ONE) == LIKED
    assert not inside.hexists(MAIN, TWO)


@pytest.mark.parametrize("spoil", [as_string, as_list])
async def test_a_write_deletes_a_variant_that_is_no_hash(side: Side, inside: Redis, spoil: Spoil) -> None:
    await side.keep(GERMAN, {ONE: LIKED})
    spoil(inside, VARIANT)
    assert await side.write(ALBUMS, ONE, LIKED) is True
    assert not inside.exists(VARIANT)
    assert await side.seen(ALBUMS, ONE) == LIKED


@pytest.mark.parametrize("spoil", COMMON.values(), ids=COMMON.keys())
async def test_a_fill_replaces_an_unsound_variant(side: Side, inside: Redis, spoil: Spoil) -> None:
    await side.keep(GERMAN, {TWO: LIKED})
    version = (await side.look(GERMAN, ONE)).version
    assert isinstance(version, bytes)
    spoil(inside, VARIANT)
    assert await side.tier.fill(GERMAN, version, {ONE: LIKED}) is True
    assert inside.hget(VARIANT, ".") == VARIANT_TAG
    assert not inside.hexists(VARIANT, TWO)


async def test_a_sound_key_is_kept(side: Side, inside: Redis) -> None:
    """A reply of another owner may come from a mixed-up connection: Redis itself decides what is deleted."""
    await side.keep(GERMAN, {ONE: LIKED})
    await side.write(ALBUMS, TWO, None)
    spoiled = Keys("ratings").main(OTHER.key, Kind.ALBUMS)
    inside.set(spoiled, "text")
    await side.look(Partition(OTHER, Kind.ALBUMS, GERMAN.variant), ONE)
    await until(lambda: not inside.exists(spoiled))
    assert await side.seen(GERMAN, ONE) == LIKED
    assert await side.seen(ALBUMS, TWO) is None
