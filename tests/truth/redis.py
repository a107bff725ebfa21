"""A model of Redis that applies `write_rule` as the Lua scripts do, in the time of the model."""

from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping, Sequence

from gateway.cache import write_rule
from gateway.cache.entry import Entry, Freshness
from gateway.cache.invalidation import Drop, DropPaired, Invalidation, Purge
from gateway.cache.lookup import Lookup
from gateway.cache.redis.recent_writes import Replaced
from gateway.cache.redis.retry_queue import Undelivered
from gateway.cache.redis.writes import Ended, Replayed
from gateway.cache.write_rule import Outcome, PairedWrite, PendingWrite, Record, StoredRating
from gateway.model import PLAIN, Id, Kind, Partition, Rating, UserKind, Variant
from tests import redis_rule

EPOCH = 1_000_000.0
"""Offset of Redis' clock: it is not a gateway's."""


class Kept:
    """The contents of a main hash and of the hashes of its variants."""

    def __init__(self) -> None:
        self.version = 0
        self.paired: PairedWrite | None = None
        self.records: dict[Id, Record] = {}
        self.variants: dict[Variant, dict[Id, StoredRating]] = {}

    def drop_in_variants(self, ids: Sequence[Id]) -> None:
        for kept in self.variants.values():
            for id_ in ids:
                kept.pop(id_, None)


class RuleRedis:
    """Each method is one script, executed at once; `publish` sends to all gateways, with the origin."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        *,
        hold: float,
        freshness: Freshness,
        publish: Callable[[str, Invalidation], None],
    ) -> None:
        self._loop = loop
        self._hold = hold
        self._freshness = freshness
        self._publish = publish
        self._kept: dict[UserKind, Kept] = {}

    @property
    def now(self) -> float:
        return EPOCH + self._loop.time()

    def version(self, place: UserKind) -> bytes:
        return b"%d" % self._of(place).version

    def restart_empty(self) -> None:
        self._kept.clear()

    def lookup(self, partition: Partition, ids: Sequence[Id], asked_at: float) -> Lookup:
        kept = self._kept.get(partition.user_kind, Kept())
        entries: dict[Id, Entry] = {}
        holds: dict[Id, StoredRating] = {}
        pending: dict[Id, bytes] = {}
        for id_ in ids:
            record = write_rule.standing(kept.records.get(id_), self.now)
            promised = write_rule.held(record, self.now)
            rated, capped = promised or record, record
            if promised is not None:
                left = (promised.held_until or self.now) - self.now
                age = self.now - promised.fetched_at
                holds[id_] = StoredRating(promised.rating, asked_at - age, asked_at + left)
            elif isinstance(record, PendingWrite):
                pending[id_] = b"%d" % record.stamp
                continue
            if partition.variant != PLAIN:
                rated = capped = None if promised else kept.variants.get(partition.variant, {}).get(id_)
            if isinstance(rated, StoredRating) and capped is not None:
                age = self.now - rated.fetched_at
                if promised is not None or age < self._freshness.lifetime_seconds:
                    entries[id_] = self._freshness.entry(
                        rated.rating,
                        asked_at,
                        fresh_seconds=self._freshness.fresh_seconds,
                        age=age,
                        cap=write_rule.cap(kept.paired, capped, self.now),
                    )
        paired = kept.paired
        return Lookup(
            shared_version=b"%d" % kept.version,
            entries=entries,
            holds=holds,
            pending=pending,
            paired_stamp=b"%d" % paired.stamp if paired else b"",
            cap_until=asked_at + paired.until - self.now if paired and self.now < paired.until else None,
        )

    def fill(self, partition: Partition, version: bytes, ratings: Mapping[Id, Rating]) -> bool:
        kept = self._of(partition.user_kind)
        if b"%d" % kept.version != version:
            return False
        fetched = {
            id_: StoredRating(rating, self.now)
            for id_, rating in ratings.items()
            if write_rule.fillable(kept.records.get(id_), self.now)
        }
        if partition.variant == PLAIN:
            kept.records.update(fetched)
        else:
            kept.variants.setdefault(partition.variant, {}).update(fetched)
        return True

    def begin(self, place: UserKind, id_: Id, write_seconds: float, origin: str) -> bytes:
        kept = self._of(place)
        stamp = self._raise(kept)
        kept.records[id_] = write_rule.begin(kept.records.get(id_), stamp, self.now, write_seconds)
        kept.drop_in_variants([id_])
        self._mark_paired(place)
        self._publish_each(origin, Drop(*place, (id_,)), *_paired_invalidations(place))
        return b"%d" % stamp

    def end(self, place: UserKind, id_: Id, stamp: bytes | None, outcome: Outcome, origin: str) -> Ended:
        kept = self._of(place)
        version = self._raise(kept)
        before = write_rule.standing(kept.records.get(id_), self.now)
        record = write_rule.end(
            before,
            int(stamp) if stamp else None,
            outcome,
            version=version,
            now=self.now,
            hold=self._hold,
        )
        kept.records[id_] = record
        kept.drop_in_variants([id_])
        if outcome is not write_rule.UNCHANGED:
            self._mark_paired(place)
        self._publish_each(origin, Drop(*place, (id_,)), *_paired_invalidations(place))
        stored = isinstance(record, StoredRating) and not isinstance(outcome, write_rule.Unwritten)
        return Ended(stored, b"%d" % version, None if stamp else Replaced(before, self.now))

    def purge(self, kinds: Sequence[Kind], purge: Purge, origin: str) -> None:
        for kind in kinds:
            kept = self._of((purge.user, kind))
            version = self._raise(kept)
            ids = list(kept.records) if purge.ids is None else purge.ids
            for id_ in ids:
                kept.records[id_] = redis_rule.purged(kept.records.get(id_), version, self.now)
            if purge.ids is None:
                kept.variants.clear()
            else:
                kept.drop_in_variants(ids)
        self._publish_each(origin, purge)

    def replay(self, place: UserKind, undelivered: Undelivered, origin: str) -> Replayed:
        kept = self._of(place)
        version = self._raise(kept)
        before = {id_: write_rule.standing(kept.records.get(id_), self.now) for id_ in undelivered.ids}
        if undelivered.all:
            for id_, record in kept.records.items():
                kept.records[id_] = (
                    None if write_rule.fillable(record, self.now) else self._replayed(record, 0, version)
                )
            kept.variants.clear()
            kept.paired = PairedWrite(version, self.now, self.now + self._hold)
        for id_, ended in undelivered.ids.items():
            kept.records[id_] = self._replayed(kept.records.get(id_), ended, version)
        kept.drop_in_variants(list(undelivered.ids))
        self._mark_paired(place)
        dropped = Purge(*place) if undelivered.all else Drop(*place, tuple(undelivered.ids))
        self._publish_each(origin, dropped, *_paired_invalidations(place))
        replaced = {
            id_: Replaced(record, self.now)
            for id_, record in before.items()
            if not write_rule.fillable(record, self.now)
        }
        return Replayed(b"%d" % version, replaced)

    def _replayed(self, record: Record, ended: int, version: int) -> Record:
        return redis_rule.replayed(record, ended, version=version, now=self.now, hold=self._hold)

    def _of(self, place: UserKind) -> Kept:
        return self._kept.setdefault(place, Kept())

    def _raise(self, kept: Kept) -> int:
        kept.version = redis_rule.raised(kept.version, self.now)
        return kept.version

    def _mark_paired(self, place: UserKind) -> None:
        user_key, kind = place
        if kind.paired is not None:
            paired = self._of((user_key, kind.paired))
            paired.paired = write_rule.paired_write(self._raise(paired), self.now, self._hold)

    def _publish_each(self, origin: str, *invalidations: Invalidation) -> None:
        for each in invalidations:
            self._publish(origin, each)


def _paired_invalidations(place: UserKind) -> tuple[Invalidation, ...]:
    user_key, kind = place
    return () if kind.paired is None else (DropPaired(user_key, kind.paired),)
