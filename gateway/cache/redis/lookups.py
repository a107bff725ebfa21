"""Lookups: one round trip for all hashes of a partition; what is past its lifetime is dropped behind it."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from functools import lru_cache

import msgspec
from redis.exceptions import ResponseError

from gateway.cache.entry import MEMOISED_IDS
from gateway.cache.redis import scripts
from gateway.cache.redis.commands import LOOKUP, Asker
from gateway.cache.redis.connection import Replies, pack
from gateway.cache.redis.errors import Failed, FailureKind, is_wrong_type, kind_of
from gateway.cache.redis.keys import META, TICKS, Keys, owner_tag, variant_name
from gateway.cache.redis.reading import CHUNK_IDS, Reading, read_plain
from gateway.cache.redis.values import Limits, PlainLookup, SharedLookup
from gateway.model import PLAIN, Id, Kind, Partition
from gateway.tasks import Tasks

DELETE_SECONDS = (0.01, 0.1, 1.0)
"""Waits before the attempts to delete an unsound key, while the connection is reopened."""


class Hash(msgspec.Struct, frozen=True):
    """One hash to read, and what proves that a reply is of it."""

    key: str
    tag: bytes
    name: bytes = b""
    """A variant's name in the meta."""

    @property
    def role(self) -> str:
        """What the sweep script checks the meta as."""
        return "variant" if self.name else "main"


class Lookups:
    """Looks partitions up; raises where Redis fails."""

    def __init__(self, asker: Asker, tasks: Tasks, keys: Keys, limits: Limits) -> None:
        self._asker = asker
        self._tasks = tasks
        self._keys = keys
        self._limits = limits
        self._main = lru_cache(maxsize=4096)(self._named)

    async def lookup(self, partition: Partition, ids: Sequence[Id]) -> SharedLookup | PlainLookup:
        """What Redis knows of `ids` (distinct) of a partition."""
        hashes = self._hashes(partition)
        commands, seconds = _commands(hashes, ids), self._limits.lookup_seconds
        started = time.perf_counter()
        node, coming = self._asker.begin(hashes[0].key, commands, seconds=seconds, guarded=True)
        answer = await coming
        if {*map(type, answer.replies)} != {list}:
            try:
                node, answer = await self._asker.follow(node, answer, commands, seconds=seconds)
            except ResponseError as error:
                if is_wrong_type(error):
                    self._delete_unsound(hashes)
                raise
        self._asker.observe(LOOKUP, started)
        try:
            found = self._read(partition, ids, hashes, answer)
        except Exception as error:
            # What came over this connection is somebody else's, or nonsense; so may be what comes next.
            kind = kind_of(error)
            node.reset(kind)
            self._delete_unsound(hashes)
            raise Failed(kind) from error
        if isinstance(found, PlainLookup) or found.admitted:
            return found
        # Rare, and cheaper than an uncached answer: variants that have expired give their places free.
        main = hashes[0]
        admitted = await self._asker.run(scripts.ADMIT, [main.key], [main.tag, self._limits.key_milliseconds])
        return msgspec.structs.replace(found, admitted=admitted == 1)

    def _named(self, user_key: bytes, kind: Kind) -> Hash:
        return Hash(self._keys.main(user_key, kind), owner_tag(user_key, kind))

    def _hashes(self, partition: Partition) -> list[Hash]:
        user_key, kind = partition.user.key, partition.kind
        main = self._main(user_key, kind)
        if partition.variant == PLAIN:
            return [main]
        name = variant_name(partition.variant)
        tag = owner_tag(user_key, kind, partition.variant)
        return [main, Hash(f"{main.key}:{name}", tag, name.encode())]

    def _read(
        self, partition: Partition, ids: Sequence[Id], hashes: Sequence[Hash], answer: Replies
    ) -> SharedLookup | PlainLookup:
        kind, now, lifetime = partition.kind, answer.micros / 1_000_000, self._limits.lifetime_seconds
        main, replies = hashes[0], answer.replies
        if len(replies) == 1:
            plain = read_plain(kind, ids, replies[0], main.tag, now=now, lifetime=lifetime)
            if plain is not None:
                return plain
        reading = Reading(kind, now, lifetime)
        chunks = len(replies) // len(hashes)
        reading.read_main(ids, replies[:chunks], main.tag)
        for variant in hashes[1:]:
            reading.read_variant(ids, replies[chunks:], variant.tag, variant.name)
        if reading.spoiled:
            self._asker.count(Failed(FailureKind.PROTOCOL))
        if reading.expired:
            self._tasks.spawn("redis sweep", self._sweep(hashes[-1], reading.expired))
        return reading.outcome(hashes[-1].name or None)

    async def _sweep(self, hash_: Hash, expired: Sequence[Id]) -> None:
        """Drop what is past its lifetime, if it still is when Redis comes to it."""
        lifetime = round(self._limits.lifetime_seconds * TICKS)
        try:
            await self._asker.run(scripts.SWEEP, [hash_.key], [hash_.tag, lifetime, hash_.role, *expired])
        except Exception as error:  # noqa: BLE001 - the next lookup meets it again
            self._asker.count(error)

    def _delete_unsound(self, hashes: Sequence[Hash]) -> None:
        for hash_ in hashes:
            self._tasks.spawn("redis delete", self._delete_if_unsound(hash_))

    async def _delete_if_unsound(self, hash_: Hash) -> None:
        """Delete a key that Redis itself finds unsound: otherwise every lookup would fail on it."""
        for seconds in DELETE_SECONDS:
            await asyncio.sleep(seconds)
            with contextlib.suppress(Exception):
                await self._asker.run(scripts.SWEEP, [hash_.key], [hash_.tag, 0, hash_.role])
                return


def _commands(hashes: Sequence[Hash], ids: Sequence[Id]) -> list[bytes]:
    if len(ids) <= MEMOISED_IDS:
        return [_hmget(hash_.key.encode(), len(ids), _packed(tuple(ids))) for hash_ in hashes]
    chunks = [ids[start : start + CHUNK_IDS] for start in range(0, len(ids), CHUNK_IDS)]
    return [pack("HMGET", hash_.key, META, *chunk) for hash_ in hashes for chunk in chunks]


def _hmget(key: bytes, count: int, packed: bytes) -> bytes:
    """What `pack` makes of the command, with the ids' part ready made: a fifth of its time."""
    return b"*%d\r\n$5\r\nHMGET\r\n$%d\r\n%b\r\n$1\r\n%b\r\n%b" % (count + 3, len(key), key, _META, packed)


@lru_cache(maxsize=512)
def _packed(ids: tuple[Id, ...]) -> bytes:
    return b"".join([b"$%d\r\n%b\r\n" % (len(id_), id_.encode()) for id_ in ids])


_META = META.encode()
