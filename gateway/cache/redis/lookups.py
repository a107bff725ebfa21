"""Lookups in Redis: one round trip for all hashes of a partition; expired fields are dropped behind it."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Final

import msgspec
from redis.exceptions import ResponseError

from gateway.cache.lookup import Lookup
from gateway.cache.redis import scripts
from gateway.cache.redis.codec import Reading
from gateway.cache.redis.commands import LOOKUP, Commands
from gateway.cache.redis.connection import pack
from gateway.cache.redis.errors import FailureKind, RedisFailed, failure_kind, is_wrong_type
from gateway.cache.redis.layout import META, TICKS, Keys, Limits, owner_tag, variant_name
from gateway.cache.redis.requests import Replies
from gateway.cache.redis.scripts import Argument
from gateway.clock import MICROSECONDS
from gateway.model import LONGEST_VARIANT, PLAIN, Id, Partition
from gateway.tasks import Tasks

DELETE_SECONDS: Final = (0.01, 0.1, 1.0)
"""Waits before the attempts to delete an unsound key, while the connection is reopened."""


class Hash(msgspec.Struct, frozen=True):
    """One hash to read, and the tag that proves that a reply is of it."""

    key: str
    tag: bytes
    name: bytes = b""
    """A variant's name in the meta."""

    @property
    def role(self) -> str:
        """What the sweep script checks the meta as."""
        return "variant" if self.name else "main"


class Lookups:
    """Looks partitions up; raises if Redis fails."""

    def __init__(self, commands: Commands, tasks: Tasks, keys: Keys, limits: Limits) -> None:
        self._commands = commands
        self._tasks = tasks
        self._keys = keys
        self._limits = limits
        self._fresh_milliseconds = round(1000 * limits.freshness.fresh_seconds)

    async def lookup(self, partition: Partition, ids: Sequence[Id], now: float) -> Lookup:
        """Look up `ids` (distinct) as of `now` (monotonic seconds).

        All with one command, which blocks Redis for the others: large requests come in pieces.
        """
        hashes = self._hashes(partition)
        commands, seconds = self._packed(hashes, ids), self._limits.lookup_seconds
        started = time.perf_counter()
        node, coming = self._commands.begin(hashes[0].key, commands, seconds=seconds, guarded=True)
        answer = await coming
        if answer.error is not None:
            try:
                node, answer = await self._commands.follow(node, answer, commands, seconds=seconds)
            except ResponseError as error:
                if is_wrong_type(error):
                    self._delete_unsound(hashes)
                raise
        self._commands.observe(LOOKUP, started)
        try:
            found = self._read(partition, ids, hashes, answer, now)
        except Exception as error:
            # What came over this connection may belong to another user, and so may what comes next.
            failure = failure_kind(error)
            node.reset(failure)
            self._delete_unsound(hashes)
            raise RedisFailed(failure) from error
        if found.admitted or len(partition.variant) > LONGEST_VARIANT:
            return found
        return msgspec.structs.replace(found, admitted=await self._admits(hashes[0]))

    async def _admits(self, main: Hash) -> bool:
        """Whether a variant that is not cached gets a place: a free one, or that of one long unused."""
        args: list[Argument] = [main.tag, self._limits.key_milliseconds, self._fresh_milliseconds]
        admitted: int = await self._commands.run(scripts.ADMIT, [main.key], args)
        return admitted == 1

    def _hashes(self, partition: Partition) -> list[Hash]:
        user_key, kind = partition.user.key, partition.kind
        main = Hash(self._keys.main(user_key, kind), owner_tag(user_key, kind))
        if partition.variant == PLAIN:
            return [main]
        name = variant_name(partition.variant)
        tag = owner_tag(user_key, kind, partition.variant)
        return [main, Hash(f"{main.key}:{name}", tag, name.encode())]

    def _packed(self, hashes: Sequence[Hash], ids: Sequence[Id]) -> list[bytes]:
        packed = [pack("HMGET", hash_.key, META, *ids) for hash_ in hashes]
        # The expiry of a variant's hash shows how long it has been unused.
        packed += [pack("PEXPIRE", variant.key, self._limits.key_milliseconds) for variant in hashes[1:]]
        return packed

    def _read(
        self, partition: Partition, ids: Sequence[Id], hashes: Sequence[Hash], answer: Replies, now: float
    ) -> Lookup:
        freshness = self._limits.freshness
        reading = Reading(
            freshness,
            freshness.fresh_seconds_of(partition.user.key, partition.kind),
            asked_at=now,
            now=answer.micros / MICROSECONDS,
        )
        reading.read_main(ids, answer.replies[0], hashes[0].tag)
        for variant in hashes[1:]:
            reading.read_variant(ids, answer.replies[1], variant.tag, variant.name)
        if reading.spoiled:
            self._commands.count(RedisFailed(FailureKind.PROTOCOL))
        if reading.expired:
            self._tasks.spawn("redis sweep", self._sweep(hashes[-1], reading.expired))
        return reading.lookup(hashes[-1].name or None)

    async def _sweep(self, hash_: Hash, expired: Sequence[Id]) -> None:
        """Drop expired fields, unless they were renewed meanwhile."""
        lifetime = round(self._limits.freshness.lifetime_seconds * TICKS)
        try:
            await self._commands.run(scripts.SWEEP, [hash_.key], [hash_.tag, lifetime, hash_.role, *expired])
        except Exception as error:  # noqa: BLE001 - the next lookup meets them again
            self._commands.count(error)

    def _delete_unsound(self, hashes: Sequence[Hash]) -> None:
        for hash_ in hashes:
            self._tasks.spawn("redis delete", self._delete_if_unsound(hash_))

    async def _delete_if_unsound(self, hash_: Hash) -> None:
        """Delete a key that Redis itself finds unsound: otherwise every lookup would fail on it."""
        for seconds in DELETE_SECONDS:
            await asyncio.sleep(seconds)
            with contextlib.suppress(Exception):
                await self._commands.run(scripts.SWEEP, [hash_.key], [hash_.tag, 0, hash_.role])
                return
