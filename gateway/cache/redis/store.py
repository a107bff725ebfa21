"""The store of Redis: every Redis error counts as a miss, and ids with undelivered writes are ignored.

Writes that Redis missed wait in the retry queue until `RetryReplayer` replays them. Writes run in tasks of
their own: a caller that leaves changes nothing.
"""

import asyncio
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from gateway.cache.announcement import OnAnnouncement
from gateway.cache.entry import all_expired
from gateway.cache.invalidation import Drop, Invalidation, OnInvalidation, Purge, encode_message
from gateway.cache.lookup import Lookup
from gateway.cache.redis.commands import Commands
from gateway.cache.redis.connection import pack
from gateway.cache.redis.errors import may_be_done
from gateway.cache.redis.lookups import Lookups
from gateway.cache.redis.recent_writes import RecentWrites
from gateway.cache.redis.retry_queue import RetryQueue
from gateway.cache.redis.retry_replayer import RetryReplayer
from gateway.cache.redis.writes import Ended, Writes
from gateway.cache.write_rule import Outcome, Unwritten
from gateway.model import Id, Kind, Partition, Rating, UserKind
from gateway.tasks import Tasks

T = TypeVar("T")


class RedisStore:
    """`SharedCache` on Redis. `gateway_id` is the origin of what `publish` sends on `channel`.

    Writes are remembered for `recent_seconds`, to replay them on another Redis, and to recognise later ones
    of other gateways.
    """

    def __init__(
        self,
        commands: Commands,
        lookups: Lookups,
        writes: Writes,
        tasks: Tasks,
        *,
        channel: str,
        gateway_id: str,
        recent_seconds: float,
    ) -> None:
        self._commands = commands
        self._lookups = lookups
        self._writes = writes
        self._tasks = tasks
        self._channel = channel
        self._gateway_id = gateway_id
        self._retry_queue = RetryQueue()
        self._recent = RecentWrites(recent_seconds)
        self.replayer = RetryReplayer(commands, writes, self._retry_queue, self._recent)

    def listen(self, on_invalidation: OnInvalidation, on_announcement: OnAnnouncement) -> None:
        """Pass on the invalidations that a replay shows were missed, and announcements of own writes."""
        self.replayer.on_invalidation = on_invalidation
        self._writes.on_announcement = on_announcement

    @property
    def undelivered(self) -> int:
        """Users and types with writes that Redis has not received yet."""
        return len(self._retry_queue)

    async def lookup(self, partition: Partition, ids: Sequence[Id], now: float) -> Lookup:
        """See `SharedCache`."""
        try:
            lookup = await self._lookups.lookup(partition, ids, now)
        except Exception as error:  # noqa: BLE001 - no failure of Redis may lose an answer
            self._commands.count(error)
            return Lookup()
        if lookup.pending:
            own = self._retry_queue.own_replays(partition.user_kind, lookup.pending)
            lookup = msgspec.structs.replace(lookup, own_replays=own)
        return self._trustworthy(lookup, partition, ids, now) if self._retry_queue else lookup

    async def fill(self, partition: Partition, version: bytes, ratings: Mapping[Id, Rating]) -> bool | None:
        """See `SharedCache`."""
        undelivered = self._retry_queue.get(partition.user_kind)
        if undelivered is not None:
            missed = undelivered.among(ratings)
            ratings = {id_: rating for id_, rating in ratings.items() if id_ not in missed}
        if not ratings:
            return None
        return await self._attempt(self._writes.fill(partition, version, ratings))

    async def begin(self, user_kind: UserKind, id_: Id, write_seconds: float) -> bytes | None:
        """See `SharedCache`."""
        return await self._uncancelled("begin", self._begin(user_kind, id_, write_seconds))

    async def end(self, user_kind: UserKind, id_: Id, stamp: bytes | None, outcome: Outcome) -> bool | None:
        """See `SharedCache`."""
        return await self._uncancelled("end", self._end(user_kind, id_, stamp, outcome))

    async def purge(self, user_key: bytes, kind: Kind | None, ids: Sequence[Id] | None) -> bool:
        """See `SharedCache`."""
        named = None if ids is None else tuple(ids)
        if named == ():
            return True
        return await self._uncancelled("purge", self._purge(Purge(user_key, kind, named)))

    async def publish(self, message: Invalidation) -> None:
        """Publish to the other gateways; lost if Redis is away."""
        data = encode_message(self._gateway_id, message)
        await self._attempt(self._commands.execute(self._channel, [pack("PUBLISH", self._channel, data)]))

    async def _begin(self, user_kind: UserKind, id_: Id, write_seconds: float) -> bytes | None:
        self._recent.begin(user_kind, id_, asyncio.get_running_loop().time())
        stamp = await self._attempt(self._replay_and_begin(user_kind, id_, write_seconds))
        if stamp is None:
            self._retry_queue.begin_missed(user_kind, id_)
            self.replayer.keep(self._retry_queue.add(user_kind, id_))
        else:
            self._retry_queue.note_own_stamp(user_kind, id_, stamp)
            self._retry_queue.drop(user_kind, id_)
        return stamp

    async def _replay_and_begin(self, user_kind: UserKind, id_: Id, write_seconds: float) -> bytes:
        # Without the replay, a write that ended undelivered would count as overlapping with this one.
        # Without a connection, each of many begins would prepare the replay of all queued before it.
        if self._commands.connected:
            await self.replayer.replay(user_kind, self._retry_queue.get(user_kind))
        try:
            return await self._writes.begin(user_kind, id_, write_seconds)
        except Exception as error:
            if may_be_done(error):
                self._retry_queue.note_unconfirmed_begin(user_kind, id_)
            raise

    async def _end(self, user_kind: UserKind, id_: Id, stamp: bytes | None, outcome: Outcome) -> bool | None:
        sent = asyncio.get_running_loop().time()
        if self._recent.end(user_kind, id_, outcome, sent):
            self.replayer.on_invalidation(Drop(*user_kind, (id_,)))
        if stamp is None:
            stamp = self._retry_queue.take_replay_stamp(user_kind, id_)
        ended = await self._attempt(self._send_end(user_kind, id_, stamp, outcome))
        if ended is None:
            # Also if the begin was not acknowledged: it may have been carried out.
            self.replayer.keep(self._retry_queue.add(user_kind, id_, ended=1))
            return None
        if ended.stored or stamp is not None:
            self._retry_queue.note_own_stamp(user_kind, id_, ended.version)
            self._retry_queue.drop(user_kind, id_)
        else:
            self._ended_without_begin(user_kind, id_, ended, sent)
        return ended.stored

    async def _send_end(self, user_kind: UserKind, id_: Id, stamp: bytes | None, outcome: Outcome) -> Ended:
        """Send an end, and note what it has left in Redis, or may have."""
        try:
            ended = await self._writes.end(user_kind, id_, stamp, outcome)
        except Exception as error:
            if may_be_done(error):
                self._retry_queue.note_unconfirmed(user_kind, [id_])
                if not isinstance(outcome, Unwritten):
                    self._recent.note_sent(user_kind, id_, outcome)
            raise
        if ended.stored and not isinstance(outcome, Unwritten):
            self._recent.note_stored(user_kind, id_, outcome, asyncio.get_running_loop().time())
        return ended

    def _ended_without_begin(self, user_kind: UserKind, id_: Id, ended: Ended, sent: float) -> None:
        """The begin was carried out late, or another gateway wrote: the end has left the id pending."""
        if ended.replaced is not None:
            writers = self._retry_queue.ended(user_kind, id_) + 1
            self.replayer.report_overtaken(user_kind, {id_: ended.replaced}, {id_: writers}, sent)
        self._retry_queue.note_marker(user_kind, id_, ended.version)
        # A replay leaves it pending under a stamp that `own_replays` knows.
        self.replayer.keep(self._retry_queue.add(user_kind, id_))

    async def _purge(self, purge: Purge) -> bool:
        kinds = list(Kind) if purge.kind is None else [purge.kind]
        if await self._attempt(self._writes.purge(kinds, purge)):
            return True
        for kind in kinds:
            self.replayer.keep(self._retry_queue.add_purge((purge.user, kind), purge.ids))
        return False

    async def _attempt(self, work: Awaitable[T]) -> T | None:
        """Return the result of `work`; if Redis fails, count that and return None."""
        try:
            return await work
        except Exception as error:  # noqa: BLE001 - no failure of Redis may lose an answer
            self._commands.count(error)
            return None

    def _trustworthy(self, lookup: Lookup, partition: Partition, ids: Sequence[Id], now: float) -> Lookup:
        """Remove from a lookup what writes and purges that Redis missed may have changed."""
        undelivered = self._retry_queue.get(partition.user_kind)
        if undelivered is not None and undelivered.whole:
            return Lookup()
        if undelivered is not None and (missed := undelivered.among(ids)):
            lookup = msgspec.structs.replace(
                lookup,
                shared_version=None,
                complete=None,
                entries={id_: entry for id_, entry in lookup.entries.items() if id_ not in missed},
                holds={id_: held for id_, held in lookup.holds.items() if id_ not in missed},
            )
        paired = partition.kind.paired
        if paired is None or self._retry_queue.get((partition.user.key, paired)) is None:
            return lookup
        held = {id_: entry for id_, entry in lookup.entries.items() if id_ in lookup.holds}
        entries = all_expired(lookup.entries, now) | held
        return msgspec.structs.replace(lookup, shared_version=None, complete=None, entries=entries)

    async def _uncancelled(self, name: str, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.shield(self._tasks.spawn(f"redis {name}", work))
