"""The store of Redis: every Redis error counts as a miss, and ids with undelivered writes are ignored.

Writes that Redis missed wait in the retry queue until they are replayed. Writes run in tasks of their own:
a caller that leaves changes nothing.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from gateway.cache.announcement import OnAnnouncement
from gateway.cache.entry import all_expired
from gateway.cache.invalidation import Drop, Invalidation, OnInvalidation, Purge, encode_message
from gateway.cache.lookup import Lookup
from gateway.cache.redis.commands import Commands
from gateway.cache.redis.connection import pack
from gateway.cache.redis.errors import FailureKind, RedisFailed, may_be_done
from gateway.cache.redis.lookups import Lookups
from gateway.cache.redis.recent_writes import RecentWrites, Replaced
from gateway.cache.redis.retry_queue import RetryQueue, Undelivered
from gateway.cache.redis.writes import Ended, Writes
from gateway.cache.write_rule import Outcome
from gateway.chunks import chunks
from gateway.model import Id, Kind, Partition, Rating, UserKind
from gateway.tasks import Tasks

T = TypeVar("T")

RETRY_SECONDS = 0.25
"""Between two attempts to replay the retry queue, unless a node comes back."""
REPLAYED_TOGETHER = 100
"""Users and types whose writes are replayed side by side: other gateways read old ratings until then."""
MAX_FAULTS = 100
"""Failures that end one attempt: one node of a cluster that is down must not hold up the others."""


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
        self._on_invalidation: OnInvalidation = lambda _: None
        self._queued = asyncio.Event()
        self._node_changed = asyncio.Event()
        self._attempted = asyncio.Event()
        """Set after each attempt to replay the queue."""

    def listen(self, on_invalidation: OnInvalidation, on_announcement: OnAnnouncement) -> None:
        """Pass on the invalidations that a replay shows were missed, and announcements of own writes."""
        self._on_invalidation = on_invalidation
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

    def node_changed(self) -> None:
        """A node may have come back: replay the retry queue now."""
        if any(node.up for node in self._commands.topology.everywhere()):
            self._node_changed.set()

    def server_changed(self) -> None:
        """Requests go to another server from now on: it has missed the recent writes."""
        for user_kind, id_ in self._recent.ids(asyncio.get_running_loop().time()):
            self._keep(self._retry_queue.add(user_kind, id_))
        self._node_changed.set()

    async def replay_undelivered(self) -> None:
        """Replay, for as long as the gateway runs, the writes and purges that Redis missed."""
        roused = False
        while True:
            await self._queued.wait()
            self._node_changed.clear()
            faults = 0
            for group in chunks(self._retry_queue.entries(), REPLAYED_TOGETHER):
                replayed = await asyncio.gather(
                    *[self._try_replay(user_kind, entry) for user_kind, entry in group]
                )
                faults += replayed.count(False)
                if faults >= MAX_FAULTS:
                    break
            self._attempted.set()
            if not self._retry_queue:
                self._queued.clear()
            elif faults and roused:
                # Not twice in a row: an attempt may itself cost the connection, and so change the node.
                await asyncio.sleep(RETRY_SECONDS)
                roused = False
            elif faults:
                roused = await self._wait_for_change(RETRY_SECONDS)

    async def _wait_for_change(self, seconds: float) -> bool:
        """Wait until a node changes, for `seconds` at most; whether one did."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._node_changed.wait()
        return self._node_changed.is_set()

    async def flush(self, seconds: float) -> None:
        """Wait until the retry queue is replayed, for `seconds` at most; not without a connection."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._retry_queue and any(node.up for node in self._commands.topology.everywhere()):
                    self._attempted.clear()
                    await self._attempted.wait()

    async def _try_replay(self, user_kind: UserKind, entry: Undelivered) -> bool:
        try:
            await self._replay(user_kind, entry)
        except Exception:  # noqa: BLE001 - it was counted when it was queued
            self._retry_queue.postpone(user_kind)
            return False
        return True

    async def _replay(self, user_kind: UserKind, entry: Undelivered | None) -> None:
        """Replay what Redis missed of a user and type, unless it was replayed or grew meanwhile."""
        if entry is None or self._retry_queue.get(user_kind) is not entry:
            return
        if entry.purges:
            user_key, kind = user_kind
            ids = None if entry.purged is None else tuple(entry.purged)
            await self._writes.purge([kind], Purge(user_key, kind, ids))
        # Writes last: if either step fails both are sent again, and repeated writes decrement the writer
        # count twice.
        if not entry.writes:
            self._retry_queue.replayed(user_kind, entry, None)
            return
        replayed = await self._confirmed(self._writes.replay(user_kind, entry), user_kind, entry.ids)
        overtaken = self._report_overtaken(user_kind, replayed.replaced, entry.ids)
        self._retry_queue.replayed(user_kind, entry, replayed.stamp, overtaken)

    def _report_overtaken(
        self, user_kind: UserKind, replaced: Mapping[Id, Replaced], ended: Mapping[Id, int]
    ) -> tuple[Id, ...]:
        """Apply the writes of other gateways that the `replaced` records show; return their ids."""
        may_have_marked, now = self._retry_queue.may_have_marked, asyncio.get_running_loop().time()
        overtaken = self._recent.written_elsewhere_since(user_kind, replaced, ended, may_have_marked, now)
        if overtaken:
            self._on_invalidation(Drop(*user_kind, overtaken))
        return overtaken

    async def _begin(self, user_kind: UserKind, id_: Id, write_seconds: float) -> bytes | None:
        self._recent.begin(user_kind, id_, asyncio.get_running_loop().time())
        stamp = await self._attempt(self._replay_and_begin(user_kind, id_, write_seconds))
        if stamp is None:
            self._retry_queue.begin_missed(user_kind, id_)
            self._keep(self._retry_queue.add(user_kind, id_))
        else:
            self._retry_queue.drop(user_kind, id_)
        return stamp

    async def _replay_and_begin(self, user_kind: UserKind, id_: Id, write_seconds: float) -> bytes:
        # Without the replay, a write that ended undelivered would count as overlapping with this one.
        await self._replay(user_kind, self._retry_queue.get(user_kind))
        return await self._writes.begin(user_kind, id_, write_seconds)

    async def _end(self, user_kind: UserKind, id_: Id, stamp: bytes | None, outcome: Outcome) -> bool | None:
        if self._recent.end(user_kind, id_, outcome, asyncio.get_running_loop().time()):
            self._on_invalidation(Drop(*user_kind, (id_,)))
        if stamp is None:
            stamp = self._retry_queue.take_replay_stamp(user_kind, id_)
        sent = self._writes.end(user_kind, id_, stamp, outcome)
        ended = await self._attempt(sent if stamp else self._confirmed(sent, user_kind, [id_]))
        if ended is None:
            # Also if the begin was not acknowledged: it may have been carried out.
            self._keep(self._retry_queue.add(user_kind, id_, ended=1))
            return None
        if ended.stored or stamp is not None:
            self._retry_queue.drop(user_kind, id_)
        else:
            self._ended_without_begin(user_kind, id_, ended)
        return ended.stored

    def _ended_without_begin(self, user_kind: UserKind, id_: Id, ended: Ended) -> None:
        """The begin was carried out late, or another gateway wrote: the end has left the id pending."""
        if ended.replaced is not None:
            writers = self._retry_queue.ended(user_kind, id_) + 1
            self._report_overtaken(user_kind, {id_: ended.replaced}, {id_: writers})
        self._retry_queue.note_marker(user_kind, id_, ended.version)
        # A replay leaves it pending under a stamp that `own_replays` knows.
        self._keep(self._retry_queue.add(user_kind, id_))

    async def _purge(self, purge: Purge) -> bool:
        kinds = list(Kind) if purge.kind is None else [purge.kind]
        if await self._attempt(self._writes.purge(kinds, purge)):
            return True
        for kind in kinds:
            self._keep(self._retry_queue.add_purge((purge.user, kind), purge.ids))
        return False

    async def _confirmed(self, work: Awaitable[T], user_kind: UserKind, ids: Iterable[Id]) -> T:
        """Return the result of `work`; if it fails, note whether it may have left `ids` pending."""
        try:
            return await work
        except Exception as error:
            if may_be_done(error):
                self._retry_queue.note_unconfirmed(user_kind, ids)
            raise

    async def _attempt(self, work: Awaitable[T]) -> T | None:
        """Return the result of `work`; if Redis fails, count that and return None."""
        try:
            return await work
        except Exception as error:  # noqa: BLE001 - no failure of Redis may lose an answer
            self._commands.count(error)
            return None

    def _keep(self, kept: bool) -> None:
        if not kept:
            self._commands.count(RedisFailed(FailureKind.BACKLOG))
        self._queued.set()

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
