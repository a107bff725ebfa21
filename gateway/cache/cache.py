"""The tiers as one: the in-process tier over Redis, and the write rule over both.

Reads ask `consult`; what was fetched comes in by `store`; writes are framed by `begin_write` and `end_write`;
`hear` takes the news of other gateways. Whatever forgets ratings also tells `on_forget`, so that nobody joins
a fetch that began before.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from gateway.cache.entry import Entry, Freshness
from gateway.cache.holds import ends_of, held_entries, undisputed
from gateway.cache.invalidation import Drop, DropPaired, Invalidation, Purge
from gateway.cache.lookup import (
    Consulted,
    FillToken,
    Findings,
    Glance,
    Known,
    TakesEntries,
    TierMetrics,
    Whole,
    Write,
    ticket_of,
    whole_of,
)
from gateway.cache.memory import MemoryCache
from gateway.cache.redis import Shared, SharedLookup, in_full
from gateway.cache.write_log import WriteLog
from gateway.cache.write_rule import UNCHANGED, Outcome, StoredRating, Unwritten
from gateway.clock import Clock
from gateway.model import PLAIN, Id, Kind, Partition, Resource, User
from gateway.tasks import Tasks
from gateway.telemetry.metrics import Metrics

FILL_SECONDS: Final = 1.0
"""How late Redis may keep what it is sent."""


class Cache:
    """Both tiers of one gateway."""

    def __init__(
        self,
        *,
        local: MemoryCache,
        write_log: WriteLog,
        shared: Shared | None,
        freshness: Freshness,
        trusted_since: Callable[[float], float],
        on_forget: Callable[[bytes, Kind, Sequence[Id] | None], None],
        clock: Clock,
        tasks: Tasks,
        metrics: Metrics,
        trust_seconds: float = 0.0,
    ) -> None:
        self.local = local
        self.freshness = freshness
        self.trusted_since = trusted_since
        """Local entries that came in before this moment (monotonic) are not believed at the given now."""
        self.has_shared = shared is not None
        self._write_log = write_log
        self._shared = shared
        self._on_forget = on_forget
        self._clock = clock
        self._tasks = tasks
        self._trust_seconds = trust_seconds
        """For how long what was fetched without a word from Redis is served without asking it again."""
        self.counts = {tier: TierMetrics(metrics, tier) for tier in ("local", "shared")}

    async def glance(self, partition: Partition, ids: Sequence[Id], now: float) -> Whole | Glance | None:
        """Ask Redis for `ids` (one round trip) where nothing of the partition is in this process; else None.

        Mostly Redis has every one of them, fresh, and that is all there is to the read.
        """
        if self._shared is None or self.local.partition(partition):
            return None
        known = self._known(partition, now)
        lookup = await self._shared.lookup(partition, ids)
        whole = None if known.written else whole_of(lookup, ids, now, self.freshness)
        if whole is None:
            return Glance(now, known, in_full(lookup))
        self.counts["shared"].fresh(len(ids), rated=whole.rated)
        if self.local.bounded_at:
            self.counts["local"].add(Findings(miss=len(ids)))
            self._keep(partition, self._found(in_full(lookup), now), known.version)
        return whole

    async def consult(
        self, partition: Partition, plan: TakesEntries, *, keep: bool, glance: Glance | None = None
    ) -> Consulted:
        """Offer `plan` what the local tier has, then what Redis has of the rest (one round trip).

        `keep` is whether what Redis has may be kept in the local tier. With a `glance` Redis was asked.
        """
        now = plan.now
        known = self._known(partition, now) if glance is None else glance.known
        version, believed = known.version, known.believed
        self._offer_local(partition, plan, believed, known.trusted_since)
        standing, lookup = believed, None
        if plan.left and self._shared is not None:
            lookup = (
                in_full(await self._shared.lookup(partition, plan.left)) if glance is None else glance.lookup
            )
            standing = believed | undisputed(known.written, lookup)
            if partition.variant == PLAIN:
                plan.hold(held_entries(standing), shared=False)
            self._offer_shared(partition, plan, lookup, version if keep else None, standing)
            # A fetch may have landed while Redis was asked.
            plan.offer(self.local.partition(partition), shared=False, trusted_since=known.trusted_since)
        held = {id_: rated.resource for id_, rated in standing.items()}
        if lookup is not None:
            held |= lookup.held
        return Consulted(
            ticket_of(
                version,
                lookup,
                self._write_log.marks(partition.user.key, partition.kind, now),
                held,
                plan.left,
                now,
            ),
            held,
            admitted=self.local.admits(partition) and (lookup is None or lookup.admitted),
            held_until=ends_of(standing, lookup, now),
        )

    def store(self, partition: Partition, ticket: FillToken, resources: Mapping[Id, Resource]) -> None:
        """Keep what a fetch brought, unless a write came in since its ticket was taken."""
        now = self._clock.monotonic()
        user_key, kind = partition.user.key, partition.kind
        if not self._write_log.admits(ticket.version, user_key, kind):
            return
        settled = {id_: resource for id_, resource in resources.items() if id_ not in ticket.unsettled}
        # News may come in although Redis is too slow to be asked: news of holds that are not known here.
        unasked = self._shared is not None and ticket.shared_version is None
        untrusted_at = now + self._trust_seconds if unasked else None
        caps = [ticket.cap_until, self._write_log.cap_until(user_key, kind, now), untrusted_at]
        cap = min([until - now for until in caps if until is not None], default=None)
        known_at = now if unasked else ticket.taken_at
        entries = {
            id_: self.freshness.entry(id_, resource, now, known_at=known_at, cap=cap)
            for id_, resource in settled.items()
        }
        self.local.put(partition, entries)
        if self._shared is None or ticket.shared_version is None or not settled:
            return
        # Redis caps by when it keeps a rating: after the end of the cap it would know of none.
        if cap is None or cap > FILL_SECONDS:
            self._tasks.spawn(
                "fill", self._fill(self._shared, partition, ticket.shared_version, settled, entries)
            )

    def undisturbed(self, partition: Partition, ticket: FillToken) -> bool:
        """Whether no write or purge of the partition was received since `ticket` was taken."""
        return self._write_log.admits(ticket.version, partition.user.key, partition.kind)

    async def begin_write(self, user: User, kind: Kind, id_: Id) -> Write:
        """A write is about to be sent: nothing from before it may be served or kept any more."""
        stamp = self._write_log.begin(user.key, kind, id_, self._clock.monotonic())
        self._forget_written(user.key, kind, id_)
        shared_stamp = None if self._shared is None else await self._shared.begin(user.key, kind, id_)
        return Write(user, kind, id_, stamp, shared_stamp)

    async def end_write(self, write: Write, outcome: Outcome) -> None:
        """The write has ended: keep its value with its hold, unless another write overlapped with it."""
        user, kind, id_ = write.user, write.kind, write.id
        alone = None
        if self._shared is not None:
            alone = await self._shared.end(user.key, kind, id_, write.shared_stamp, outcome)
        now = self._clock.monotonic()
        # Where Redis could not acknowledge the begin, it may have taken it, and this end for another write's.
        told = write.shared_stamp is not None
        if told and alone is False and not isinstance(outcome, Unwritten):
            self._write_log.overwritten(user.key, kind, [id_], now)
        cell = self._write_log.end(user.key, kind, id_, write.stamp, outcome, now)
        self._forget_written(user.key, kind, id_, paired=outcome is not UNCHANGED)
        if isinstance(cell, StoredRating):
            held_seconds = max(0.0, (cell.held_until or now) - now)
            # A write on the twin kind that came between may have changed it: beyond the hold, Apple is asked.
            cap_until = self._write_log.cap_until(user.key, kind, now)
            cap = None if cap_until is None else max(cap_until - now, held_seconds)
            if isinstance(outcome, Unwritten):
                # It is an earlier write's: a purge or a write on the twin may have come since.
                cap = held_seconds
            entry = self.freshness.entry(
                id_, cell.resource, now, age=now - cell.fetched_at, cap=cap, held_seconds=held_seconds
            )
            self.local.put(Partition(user, kind), {id_: entry})

    async def purge(self, user_key: bytes, kind: Kind | None, ids: Sequence[Id] | None) -> bool:
        """Drop a user's ratings everywhere: one kind or all, these ids or all. False: Redis is told later."""
        self._purge_local(user_key, kind, ids)
        return self._shared is None or await self._shared.purge(user_key, kind, ids)

    def hear(self, news: Invalidation) -> None:
        """Act on what another gateway told."""
        now = self._clock.monotonic()
        match news:
            case Drop(user_key, kind, ids):
                self._write_log.overwritten(user_key, kind, ids, now)
                self.local.drop(user_key, kind, ids)
                self._on_forget(user_key, kind, ids)
            case DropPaired(user_key, kind):
                self._write_log.mark(user_key, kind, now)
                self._suspect(user_key, kind)
            case Purge(user_key, kind_or_all, ids_or_all):
                self._purge_local(user_key, kind_or_all, ids_or_all)

    def _offer_local(
        self, partition: Partition, plan: TakesEntries, held: Mapping[Id, StoredRating], trusted_since: float
    ) -> None:
        if held and partition.variant == PLAIN:
            self.counts["local"].add(plan.hold(held_entries(held), shared=False))
        findings = plan.offer(self.local.partition(partition), shared=False, trusted_since=trusted_since)
        if self.local.bounded_at:
            self.counts["local"].add(findings)

    def _offer_shared(
        self,
        partition: Partition,
        plan: TakesEntries,
        lookup: SharedLookup,
        version: int | None,
        standing: Mapping[Id, StoredRating],
    ) -> None:
        """`version` is the ledger's from before the lookup; None: keep nothing of it."""
        counts = self.counts["shared"]
        if lookup.version is None and not lookup.found:
            counts.error(len(plan.left))
            return
        entries = self._found(lookup, plan.now)
        # Redis may have lost what was written here: the next read must not take its word for it.
        self._keep(partition, {id_: entry for id_, entry in entries.items() if id_ not in standing}, version)
        if lookup.held and partition.variant == PLAIN:
            held = {id_: entries[id_] for id_ in lookup.held if id_ in entries}
            counts.add(plan.hold(held, shared=True))
        counts.add(plan.offer(entries, shared=True, trusted_since=-math.inf))

    def _known(self, partition: Partition, now: float) -> Known:
        written = self._write_log.held(partition.user.key, partition.kind, now)
        return Known(self._write_log.version, self.trusted_since(now), written)

    def _found(self, lookup: SharedLookup, asked_at: float) -> Mapping[Id, Entry]:
        # As of when Redis was asked: a read judges by that moment what Redis says is not to be served.
        return {
            id_: self.freshness.entry(id_, found.resource, asked_at, age=found.age, cap=found.cap)
            for id_, found in lookup.found.items()
        }

    def _keep(self, partition: Partition, entries: Mapping[Id, Entry], version: int | None) -> None:
        """Bring what Redis has into the local tier; `version` as in `_offer_shared`."""
        if version is not None and self._write_log.admits(version, partition.user.key, partition.kind):
            self.local.put(partition, entries)

    async def _fill(
        self,
        shared: Shared,
        partition: Partition,
        version: bytes,
        resources: Mapping[Id, Resource],
        entries: Mapping[Id, Entry],
    ) -> None:
        if await shared.fill(partition, version, resources) is False:
            # Another gateway wrote meanwhile, and its news is not here yet: what was fetched may be older.
            kept = self.local.partition(partition)
            refused = [id_ for id_, entry in entries.items() if kept.get(id_) is entry]
            self.local.drop(partition.user.key, partition.kind, refused)

    def _forget_written(self, user_key: bytes, kind: Kind, id_: Id, *, paired: bool = True) -> None:
        self.local.drop(user_key, kind, [id_])
        self._on_forget(user_key, kind, [id_])
        if paired and kind.paired is not None:
            self._suspect(user_key, kind.paired)

    def _suspect(self, user_key: bytes, kind: Kind) -> None:
        """From now on the user's entries of `kind` serve only where Apple fails: its twin was written."""
        now = self._clock.monotonic()
        self.local.replace(
            user_key,
            kind,
            lambda entry: msgspec.structs.replace(
                entry, fresh_until=min(entry.fresh_until, now), ask_when_stale=True
            ),
        )
        self._on_forget(user_key, kind, None)

    def _purge_local(self, user_key: bytes, kind: Kind | None, ids: Sequence[Id] | None) -> None:
        now = self._clock.monotonic()
        for each in Kind if kind is None else (kind,):
            self._write_log.purged(user_key, each, now)
            self.local.drop(user_key, each, ids)
            self._on_forget(user_key, each, ids)
