"""The shared tier on Redis: a miss in the place of every failure, and nothing believed that Redis missed.

What Redis could not be told is kept in the backlog; until it has been told, Redis counts as knowing nothing
of it. Writes run in tasks of their own: that a caller leaves changes nothing.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from gateway.cache.invalidation import Invalidation, Purge, encode_message
from gateway.cache.redis.commands import Asker
from gateway.cache.redis.connection import pack
from gateway.cache.redis.errors import Failed, FailureKind
from gateway.cache.redis.keys import Keys
from gateway.cache.redis.lookups import Lookups
from gateway.cache.redis.retry_queue import Place, RetryQueue, Undelivered
from gateway.cache.redis.values import Found, Limits, PlainLookup, SharedLookup
from gateway.cache.redis.writes import Writes
from gateway.cache.write_rule import Outcome
from gateway.model import Id, Kind, Partition, Resource
from gateway.tasks import Tasks

T = TypeVar("T")

TELL_SECONDS = 0.25
"""Between two attempts to tell Redis what is in the backlog."""
TELL_FAULTS = 100
"""What may fail in one attempt: one node of a cluster that is down must not keep the others from hearing."""


class RedisShared:
    """`Shared` on Redis. `gateway_id` is the origin of the news that is published."""

    def __init__(
        self, asker: Asker, tasks: Tasks, limits: Limits, *, namespace: str, gateway_id: str
    ) -> None:
        self._asker = asker
        self._tasks = tasks
        self._keys = Keys(namespace)
        self._gateway_id = gateway_id
        self._lookups = Lookups(asker, tasks, self._keys, limits)
        self._writes = Writes(asker, self._keys, limits, gateway_id)
        self._backlog = RetryQueue()
        self._untold = asyncio.Event()

    @property
    def untold(self) -> int:
        """Users and kinds of which Redis could not be told something yet."""
        return len(self._backlog)

    async def lookup(self, partition: Partition, ids: Sequence[Id]) -> SharedLookup | PlainLookup:
        """See `Shared`."""
        try:
            lookup = await self._lookups.lookup(partition, ids)
        except Exception as error:  # noqa: BLE001 - whatever Redis does, an answer is not lost
            self._asker.count(error)
            return SharedLookup()
        if isinstance(lookup, PlainLookup):
            return self._believable(lookup.in_full(), partition, ids) if self._backlog else lookup
        if lookup.marks:
            late = self._backlog.told_late((partition.user.key, partition.kind), lookup.marks)
            lookup = msgspec.structs.replace(lookup, late=late)
        return self._believable(lookup, partition, ids) if self._backlog else lookup

    async def fill(
        self, partition: Partition, version: bytes, resources: Mapping[Id, Resource]
    ) -> bool | None:
        """See `Shared`."""
        untold = self._backlog.get((partition.user.key, partition.kind))
        if untold is not None:
            resources = {} if untold.all else {i: r for i, r in resources.items() if i not in untold.ids}
        if not resources:
            return None
        try:
            return await self._writes.fill(partition, version, resources)
        except Exception as error:  # noqa: BLE001 - as above
            self._asker.count(error)
            return None

    async def begin(self, user_key: bytes, kind: Kind, id_: Id) -> bytes | None:
        """See `Shared`."""
        return await self._to_its_end("begin", self._begin((user_key, kind), id_))

    async def end(
        self, user_key: bytes, kind: Kind, id_: Id, stamp: bytes | None, outcome: Outcome
    ) -> bool | None:
        """See `Shared`."""
        return await self._to_its_end("end", self._end((user_key, kind), id_, stamp, outcome))

    async def purge(self, user_key: bytes, kind: Kind | None, ids: Sequence[Id] | None) -> bool:
        """See `Shared`."""
        named = None if ids is None else tuple(ids)
        if named == ():
            return True
        return await self._to_its_end("purge", self._purge(Purge(user_key, kind, named)))

    async def publish(self, message: Invalidation) -> None:
        """See `Shared`."""
        news = encode_message(self._gateway_id, message)
        try:
            await self._asker.ask(self._keys.channel, [pack("PUBLISH", self._keys.channel, news)])
        except Exception as error:  # noqa: BLE001 - as above
            self._asker.count(error)

    async def tell_backlog(self) -> None:
        """For as long as the gateway runs, tell Redis what it could not be told in its time."""
        while True:
            await self._untold.wait()
            faults = 0
            for place, entry in self._backlog.entries():
                try:
                    await self._tell(place, entry)
                except Exception:  # noqa: BLE001 - it was counted when it went into the backlog
                    self._backlog.postpone(place)
                    faults += 1
                if faults >= TELL_FAULTS:
                    break
            if not self._backlog:
                self._untold.clear()
            elif faults:
                await asyncio.sleep(TELL_SECONDS)

    async def _tell(self, place: Place, entry: Undelivered | None) -> None:
        """Tell what is untold of a place, unless that was done or has become more meanwhile."""
        if entry is not None and self._backlog.get(place) is entry:
            self._backlog.told(place, entry, await self._writes.forget(place, entry))

    async def _begin(self, place: Place, id_: Id) -> bytes | None:
        try:
            # Else a write that has ended untold would count as one that overlaps with this.
            await self._tell(place, self._backlog.get(place))
            stamp = await self._writes.begin(place, id_)
        except Exception as error:  # noqa: BLE001 - as above
            self._asker.count(error)
            self._backlog.began_untold(place, id_)
            self._keep(place, [id_])
            return None
        self._backlog.drop(place, id_)
        return stamp

    async def _end(self, place: Place, id_: Id, stamp: bytes | None, outcome: Outcome) -> bool | None:
        if stamp is None:
            stamp = self._backlog.late_stamp(place, id_)
        try:
            stored = await self._writes.end(place, id_, stamp, outcome)
        except Exception as error:  # noqa: BLE001 - as above
            self._asker.count(error)
            # Also where the begin was not acknowledged: it may have been carried out.
            self._keep(place, [id_], ended=1)
            return None
        if stored or stamp is not None:
            self._backlog.drop(place, id_)
        else:
            # The begin was carried out after its time, and so this end has left a mark that is known for
            # nobody's. What is told late leaves one that is known for ours.
            self._keep(place, [id_])
        return stored

    async def _purge(self, purge: Purge) -> bool:
        kinds = list(Kind) if purge.kind is None else [purge.kind]
        try:
            await self._writes.purge(kinds, purge)
        except Exception as error:  # noqa: BLE001 - as above
            self._asker.count(error)
            for kind in kinds:
                self._keep((purge.user, kind), purge.ids)
            return False
        return True

    def _keep(self, place: Place, ids: Sequence[Id] | None, *, ended: int = 0) -> None:
        if ids is None:
            kept = self._backlog.add_all(place)
        else:
            kept = min([self._backlog.add(place, id_, ended=ended) for id_ in ids])
        if not kept:
            self._asker.count(Failed(FailureKind.BACKLOG))
        self._untold.set()

    def _believable(self, lookup: SharedLookup, partition: Partition, ids: Sequence[Id]) -> SharedLookup:
        """What is left of a lookup when what Redis has not heard of is taken away."""
        untold = self._backlog.get((partition.user.key, partition.kind))
        if untold is not None and (untold.all or not untold.ids.keys().isdisjoint(ids)):
            if untold.all:
                return SharedLookup()
            lookup = msgspec.structs.replace(
                lookup,
                version=None,
                found={id_: found for id_, found in lookup.found.items() if id_ not in untold.ids},
                held={id_: resource for id_, resource in lookup.held.items() if id_ not in untold.ids},
            )
        paired = partition.kind.paired
        if paired is not None and self._backlog.get((partition.user.key, paired)) is not None:
            found = {
                id_: each if each.held else _only_where_apple_fails(each)
                for id_, each in lookup.found.items()
            }
            lookup = msgspec.structs.replace(lookup, version=None, found=found)
        return lookup

    async def _to_its_end(self, name: str, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.shield(self._tasks.spawn(f"redis {name}", work))


def _only_where_apple_fails(found: Found) -> Found:
    return Found(found.resource, found.age, 0.0)
