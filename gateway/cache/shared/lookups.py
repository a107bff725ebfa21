"""Lookups: one round trip for all hashes of a shelf; what is past its lifetime is dropped behind it."""

import asyncio
import contextlib
import time
from collections.abc import Sequence

import msgspec

from gateway.cache.shared import scripts
from gateway.cache.shared.asking import LOOKUP, Asker
from gateway.cache.shared.dispatcher import pack
from gateway.cache.shared.failures import Failed, FailureKind, kind_of
from gateway.cache.shared.keys import META, TICKS, Keys, owner_tag, variant_name
from gateway.cache.shared.reading import CHUNK_IDS, Reading, read_plain
from gateway.cache.shared.values import Limits, PlainLookup, SharedLookup
from gateway.model import PLAIN, Id, Shelf
from gateway.tasks import Tasks

DISOWN_SECONDS = (0.01, 0.1, 1.0)
"""Waits before the attempts to drop a hash of another owner; the connection is being opened anew."""


class Hash(msgspec.Struct, frozen=True):
    """One hash to read, and what proves that a reply is of it."""

    key: str
    tag: bytes
    name: bytes = b""
    """A variant's name in the meta."""


class Lookups:
    """Looks shelves up; raises where Redis fails."""

    def __init__(self, asker: Asker, tasks: Tasks, keys: Keys, limits: Limits) -> None:
        self._asker = asker
        self._tasks = tasks
        self._keys = keys
        self._limits = limits

    async def lookup(self, shelf: Shelf, ids: Sequence[Id]) -> SharedLookup | PlainLookup:
        """What Redis knows of `ids` (distinct) of a shelf."""
        main = Hash(self._keys.main(shelf.user.key, shelf.kind), owner_tag(shelf.user.key, shelf.kind))
        if shelf.variant == PLAIN:
            found = await self._look(shelf, ids, [main])
            return found.outcome() if isinstance(found, Reading) else found
        name = variant_name(shelf.variant)
        tag = owner_tag(shelf.user.key, shelf.kind, shelf.variant)
        reading = await self._look(shelf, ids, [main, Hash(f"{main.key}:{name}", tag, name.encode())])
        assert isinstance(reading, Reading)
        outcome = reading.outcome(name.encode())
        if outcome.admitted:
            return outcome
        # Rare, and cheaper than an uncached answer: variants that have expired give their places free.
        admitted = await self._asker.run(scripts.ADMIT, [main.key], [main.tag, self._limits.key_milliseconds])
        return msgspec.structs.replace(outcome, admitted=admitted == 1)

    async def _look(self, shelf: Shelf, ids: Sequence[Id], hashes: Sequence[Hash]) -> Reading | PlainLookup:
        started = time.perf_counter()
        chunks = [ids[start : start + CHUNK_IDS] for start in range(0, len(ids), CHUNK_IDS)]
        commands = [pack("HMGET", hash_.key, META, *chunk) for hash_ in hashes for chunk in chunks]
        node, answer = await self._asker.ask(
            hashes[0].key, commands, seconds=self._limits.lookup_seconds, guarded=True
        )
        self._asker.observe(LOOKUP, started)
        reading = Reading(shelf.kind, answer.micros / 1_000_000, self._limits.lifetime_seconds)
        try:
            if len(commands) == 1 and (plain := read_plain(reading, ids, answer.replies[0], hashes[0].tag)):
                return plain
            reading.read_main(ids, answer.replies[: len(chunks)], hashes[0].tag)
            for variant in hashes[1:]:
                reading.read_variant(ids, answer.replies[len(chunks) :], variant.tag, variant.name)
        except Exception as error:
            # What came over this connection is somebody else's, or nonsense; so may be what comes next.
            kind = kind_of(error)
            node.reset(kind)
            if kind is FailureKind.OWNER:
                for hash_ in hashes:
                    self._tasks.spawn("redis disown", self._disown(hash_))
            raise Failed(kind) from error
        if reading.spoiled:
            self._asker.count(Failed(FailureKind.PROTOCOL))
        if reading.expired:
            self._tasks.spawn("redis sweep", self._sweep(hashes[-1], reading.expired))
        return reading

    async def _sweep(self, hash_: Hash, expired: Sequence[Id]) -> None:
        """Drop what is past its lifetime, if it still is when Redis comes to it."""
        lifetime = round(self._limits.lifetime_seconds * TICKS)
        try:
            await self._asker.run(scripts.SWEEP, [hash_.key], [hash_.tag, lifetime, *expired])
        except Exception as error:  # noqa: BLE001 - the next lookup meets it again
            self._asker.count(error)

    async def _disown(self, hash_: Hash) -> None:
        """Drop a hash that truly lies in Redis under another owner's tag: else every lookup would meet it."""
        for seconds in DISOWN_SECONDS:
            await asyncio.sleep(seconds)
            with contextlib.suppress(Exception):
                await self._asker.run(scripts.SWEEP, [hash_.key], [hash_.tag, 0])
                return
