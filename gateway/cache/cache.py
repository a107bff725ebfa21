"""The cache of one gateway: memory over Redis, and the write rule over both.

A read looks ids up in memory (`recall`), then the rest in Redis (`look_up_shared`). A fetch takes a
`fill_token` before it begins and is stored with it. Writes are framed by `begin_write` and `end_write`;
`on_invalidation` applies what other gateways publish.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from gateway.cache.entry import Entry, Freshness
from gateway.cache.invalidation import Drop, DropPaired, Invalidation, Purge
from gateway.cache.lookup import Lookup, Tiers, fill_token, local_holds
from gateway.cache.memory import MemoryCache
from gateway.cache.shared_cache import SharedCache
from gateway.cache.top_up import TopUp
from gateway.cache.write_log import BegunWrite, WriteLog
from gateway.cache.write_rule import UNCHANGED, Outcome, StoredRating, Unwritten
from gateway.clock import Clock
from gateway.fill_token import FillToken
from gateway.model import Id, Kind, Partition, Rating, User, UserKind
from gateway.tasks import Tasks

FILL_SECONDS: Final = 1.0
"""How late Redis may store a fill: fills that may be served no longer than that are not sent."""


class Cache:
    """Both tiers of one gateway.

    `trusted_since(now)` is when the last gap in the invalidations ended: entries from before are not trusted.
    `on_drop` is called with user and type, and ids (None: all), whenever ratings are dropped, so that no
    request joins a fetch that began before. `trust_seconds` is how long a fetch is trusted that Redis did not
    see.
    """

    def __init__(
        self,
        *,
        memory: MemoryCache,
        write_log: WriteLog,
        shared: SharedCache | None,
        freshness: Freshness,
        trusted_since: Callable[[float], float],
        on_drop: Callable[[UserKind, Collection[Id] | None], None],
        clock: Clock,
        tasks: Tasks,
        trust_seconds: float = 0.0,
        top_up: bool = True,
    ) -> None:
        self.memory = memory
        self.freshness = freshness
        self.top_up = TopUp(memory, freshness, clock, enabled=top_up)
        self.trusted_since = trusted_since
        self.has_shared = shared is not None
        self._write_log = write_log
        self._shared = shared
        self._on_drop = on_drop
        self._clock = clock
        self._tasks = tasks
        self._trust_seconds = trust_seconds

    def recall(self, partition: Partition, now: float) -> Lookup:
        """Look the partition up in memory. The entries are live: read them before an await."""
        ratings = self.memory.partition(partition, now)
        return Lookup(
            version=self._write_log.version,
            entries=ratings.entries,
            rides=ratings.rides,
            holds=self._write_log.holds((partition.user.key, partition.kind), now),
            trusted_since=self.trusted_since(now),
        )

    async def look_up_shared(
        self, partition: Partition, ids: Sequence[Id], memory: Lookup, now: float, *, keep: bool
    ) -> Lookup:
        """Look `ids` up in Redis (one round trip), and keep the result in memory if `keep`."""
        assert self._shared is not None
        lookup = await self._shared.lookup(partition, ids, now)
        if keep and lookup.entries and self.memory.enabled:
            # Redis may have lost a rating written here: the next read must not get an older one from memory.
            standing = local_holds(memory, lookup)
            entries = lookup.entries
            if standing:
                entries = {id_: entry for id_, entry in entries.items() if id_ not in standing}
            self._keep(partition, entries, memory, now)
        return lookup

    async def look_up(self, partition: Partition, ids: Sequence[Id], now: float) -> Tiers:
        """Look `ids` up in both tiers, without effect on either."""
        memory = self.recall(partition, now)
        if self._shared is None:
            return Tiers(memory, None)
        return Tiers(memory, await self.look_up_shared(partition, ids, memory, now, keep=False))

    def fill_token(self, partition: Partition, asked: Sequence[Id], tiers: Tiers, now: float) -> FillToken:
        """Return the token for a fetch of `asked`, after the lookups made at `now`."""
        pending = self._write_log.pending(partition.user_kind, now)
        return fill_token(tiers, pending, asked, now)

    def store(
        self, partition: Partition, token: FillToken, ratings: Mapping[Id, Rating], *, ridden: bool = False
    ) -> None:
        """Store what a fetch returned, unless a write began or ended since its token was taken.

        `ridden`: no request asked for these ids, they were refreshed along with others.
        """
        now = self._clock.monotonic()
        user_kind = partition.user_kind
        if not self._write_log.admits(token.version, user_kind):
            self._write_log.fill_refused(user_kind, now)
            return
        settled = {id_: rating for id_, rating in ratings.items() if id_ not in token.unsettled}
        # Invalidations may arrive although Redis did not answer, of holds that this gateway has not read.
        unasked = self._shared is not None and token.shared_version is None
        limits = [
            token.cap_until,
            self._write_log.cap_until(user_kind, now),
            now + self._trust_seconds if unasked else None,
        ]
        cap = min([until - now for until in limits if until is not None], default=None)
        entries = self.freshness.entries(
            settled,
            now,
            fresh_seconds=self.freshness.fresh_seconds_of(*user_kind),
            trusted_at=now if unasked else token.taken_at,
            cap=cap,
        )
        self.memory.put(partition, entries, now)
        self.top_up.stored(partition, entries, now, ridden=ridden)
        if self._shared is None or token.shared_version is None or not settled:
            return
        # Redis derives the limit from when it stores a rating: after its end it would apply none.
        if cap is None or cap > FILL_SECONDS:
            filling = self._fill(self._shared, partition, token.shared_version, settled, entries)
            self._tasks.spawn("fill", filling)

    def undisturbed(self, partition: Partition, token: FillToken) -> bool:
        """Whether no write or purge of the partition was recorded since `token` was taken."""
        return self._write_log.admits(token.version, partition.user_kind)

    def write_pending(self, user_kind: UserKind, id_: Id, now: float) -> bool:
        """Whether a write of the id through this gateway is under way, or ended unknown."""
        return id_ in self._write_log.pending(user_kind, now)

    def fills_refused(self, user_kind: UserKind, since: float) -> int:
        """See `WriteLog.fills_refused`."""
        return self._write_log.fills_refused(user_kind, since)

    async def begin_write(self, user: User, kind: Kind, id_: Id, write_seconds: float) -> BegunWrite:
        """Record that a write is about to be sent: no older rating may be served or stored any more."""
        user_kind = (user.key, kind)
        stamp = self._write_log.begin(user_kind, id_, self._clock.monotonic(), write_seconds)
        self._drop_written(user_kind, id_)
        shared_stamp = (
            None if self._shared is None else await self._shared.begin(user_kind, id_, write_seconds)
        )
        return BegunWrite(user, kind, id_, stamp, shared_stamp)

    async def end_write(self, write: BegunWrite, outcome: Outcome) -> bool:
        """Record that a write has ended: store its rating with a hold, unless it overlapped with another.

        Returns whether its rating is held in this process.
        """
        user_kind, id_ = write.user_kind, write.id
        alone = None
        if self._shared is not None:
            alone = await self._shared.end(user_kind, id_, write.shared_stamp, outcome)
        now = self._clock.monotonic()
        # Without an acknowledged begin, Redis may have carried it out and taken this end for another write's.
        acknowledged = write.shared_stamp is not None
        if acknowledged and alone is False and not isinstance(outcome, Unwritten):
            self._write_log.overwritten(user_kind, [id_], now)
        record = self._write_log.end(user_kind, id_, write.stamp, outcome, now)
        self._drop_written(user_kind, id_, paired=outcome is not UNCHANGED)
        if isinstance(record, StoredRating):
            entry = self._written_entry(user_kind, record, now)
            self.memory.put(Partition(write.user, write.kind), {id_: entry}, now)
        return isinstance(record, StoredRating)

    async def purge(self, user_key: bytes, kind: Kind | None, ids: Sequence[Id] | None) -> bool:
        """Drop a user's ratings everywhere: one type or all, these ids or all. False: Redis gets it later."""
        self._purge_memory(user_key, kind, ids)
        if self._shared is None:
            return True
        delivered = await self._shared.purge(user_key, kind, ids)
        # Lookups that Redis answered before it purged may have been kept meanwhile.
        self._purge_memory(user_key, kind, ids)
        return delivered

    def on_invalidation(self, message: Invalidation) -> None:
        """Apply what another gateway published."""
        now = self._clock.monotonic()
        match message:
            case Drop(user_key, kind, ids):
                self._write_log.overwritten((user_key, kind), ids, now)
                self._drop((user_key, kind), ids)
            case DropPaired(user_key, kind):
                self._write_log.paired_written((user_key, kind), now)
                self._expire((user_key, kind))
            case Purge(user_key, kind_or_all, ids_or_all):
                self._purge_memory(user_key, kind_or_all, ids_or_all)

    def _keep(self, partition: Partition, entries: Mapping[Id, Entry], memory: Lookup, now: float) -> None:
        if self._write_log.admits(memory.version, partition.user_kind):
            self.memory.put(partition, entries, now)

    async def _fill(
        self,
        shared: SharedCache,
        partition: Partition,
        version: bytes,
        ratings: Mapping[Id, Rating],
        entries: Mapping[Id, Entry],
    ) -> None:
        if await shared.fill(partition, version, ratings) is False:
            # Another gateway wrote meanwhile, and its invalidation is not here yet: this may be older.
            now = self._clock.monotonic()
            self._write_log.fill_refused(partition.user_kind, now)
            kept = self.memory.partition(partition, now).entries
            refused = [id_ for id_, entry in entries.items() if kept.get(id_) is entry]
            self.memory.drop(partition.user_kind, refused)

    def _written_entry(self, user_kind: UserKind, written: StoredRating, now: float) -> Entry:
        """The entry of the rating that a write has just left, within its hold."""
        held_seconds = max(0.0, (written.held_until or now) - now)
        # A write on the paired type may have changed it meanwhile: past the hold, Apple is asked.
        cap_until = self._write_log.cap_until(user_kind, now)
        cap = None if cap_until is None else max(cap_until - now, held_seconds)
        return self.freshness.entry(
            written.rating,
            now,
            fresh_seconds=self.freshness.fresh_seconds_of(*user_kind),
            age=now - written.fetched_at,
            cap=cap,
            held_seconds=held_seconds,
        )

    def _drop_written(self, user_kind: UserKind, id_: Id, *, paired: bool = True) -> None:
        self._drop(user_kind, [id_])
        user_key, kind = user_kind
        if paired and kind.paired is not None:
            self._expire((user_key, kind.paired))

    def _drop(self, user_kind: UserKind, ids: Collection[Id] | None) -> None:
        self.memory.drop(user_kind, ids)
        self._on_drop(user_kind, ids)

    def _expire(self, user_kind: UserKind) -> None:
        """Make the user's entries of the type stale, because the paired type was written."""
        self.memory.expire(user_kind, self._clock.monotonic())
        self._on_drop(user_kind, None)

    def _purge_memory(self, user_key: bytes, kind: Kind | None, ids: Sequence[Id] | None) -> None:
        now = self._clock.monotonic()
        for each in Kind if kind is None else (kind,):
            self._write_log.purged((user_key, each), now)
            self._drop((user_key, each), ids)
