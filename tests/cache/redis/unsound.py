"""Ways to make a key something other than a hash of its owner."""

from collections.abc import Callable

from redis import Redis

from gateway.cache.redis.layout import owner_tag
from gateway.model import Kind
from tests.cache.redis.harness import OTHER

Spoil = Callable[[Redis, str], object]


def as_string(client: Redis, key: str) -> None:
    client.set(key, "text")


def as_list(client: Redis, key: str) -> None:
    client.delete(key)
    client.rpush(key, "text")


def without_meta(client: Redis, key: str) -> None:
    client.hdel(key, ".")


def with_meta(value: bytes) -> Spoil:
    def spoil(client: Redis, key: str) -> None:
        client.hset(key, ".", value)

    return spoil


SPOILS: dict[str, Spoil] = {
    "string": as_string,
    "list": as_list,
    "no owner's tag": without_meta,
    "another owner's tag": with_meta(owner_tag(OTHER.key, Kind.ALBUMS) + b"0"),
    "garbage": with_meta(b"\xff\x00"),
}
