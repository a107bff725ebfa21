"""What passes between a read and the tiers: the plan that takes entries, and what the tiers say besides."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Protocol

import msgspec

from gateway.cache.entry import Entry, Freshness
from gateway.cache.redis import PlainLookup, SharedLookup
from gateway.cache.write_rule import StoredRating
from gateway.model import Id, Kind, Resource, User
from gateway.telemetry.metrics import Metrics


class FillToken(msgspec.Struct, frozen=True):
    """What was known of a partition when a fetch for it began: it decides whether the result may be kept."""

    version: int
    """The ledger's."""
    taken_at: float = 0.0
    """Monotonic seconds: writes from before that moment were known, or would have been told by Redis."""
    shared_version: bytes | None = None
    """Redis' write version; None where Redis could not be asked, and so is told nothing."""
    cap_until: float | None = None
    """Monotonic seconds: what is fetched may not be served without asking past it."""
    marks: Mapping[Id, Hashable] = {}
    """Fetches of one id are shared only between equal marks: a write that has not settled makes another."""
    unsettled: frozenset[Id] = frozenset()
    """Ids whose fetch is not kept, because a write of theirs is under way or holds."""


class Consulted(msgspec.Struct, frozen=True):
    """What the tiers said of one partition, beyond the entries that the plan was offered."""

    ticket: FillToken
    held: Mapping[Id, Resource]
    """Written values within their hold, to be laid over whatever is found or fetched."""
    admitted: bool
    held_until: Mapping[Id, float] = {}
    """When each of those holds ends: monotonic seconds."""


class Write(msgspec.Struct, frozen=True):
    """A write under way, and the stamps that tell it apart from others."""

    user: User
    kind: Kind
    id: Id
    stamp: int
    shared_stamp: bytes | None


class Findings(msgspec.Struct):
    """What one tier said of the ids that it was asked for, as counted in `cache_ids_total`."""

    hit: int = 0
    negative: int = 0
    stale: int = 0
    miss: int = 0


class Whole(msgspec.Struct, frozen=True):
    """Every rating that was asked for, fresh from one tier: nothing is left to weigh."""

    count: int
    rated: int
    """How many of them are rated; the others are unrated."""
    listed: bytes
    """The resources in the order asked, with commas between them."""
    fetched_at: float
    """Of the oldest of them: monotonic seconds."""
    fresh_until: float
    """Of the first to go stale."""


class Known(msgspec.Struct, frozen=True):
    """What this process knew of a partition's writes when a read looked at it."""

    version: int
    """The ledger's."""
    trusted_since: float
    written: Mapping[Id, StoredRating]
    """Written values within their hold."""

    @property
    def believed(self) -> dict[Id, StoredRating]:
        """Those of them that no news can have been missed of."""
        since = self.trusted_since
        return {id_: rated for id_, rated in self.written.items() if rated.fetched_at >= since}


class Glance(msgspec.Struct, frozen=True):
    """What was known when Redis was asked for a partition, and what it said: for `consult` to go on from."""

    asked_at: float
    """Monotonic seconds: what Redis said is judged as of then, however long its answer took."""
    known: Known
    lookup: SharedLookup


def whole_of(
    lookup: SharedLookup | PlainLookup, ids: Sequence[Id], now: float, freshness: Freshness
) -> Whole | None:
    """What a lookup made at `now` found, if that is every id, and fresh, and no write is near."""
    if isinstance(lookup, PlainLookup):
        listed, rated, ages = lookup.listed, lookup.rated, lookup.ages
    else:
        found = lookup.found
        if len(found) != len(ids) or lookup.version is None or not lookup.admitted:
            return None
        if lookup.held or lookup.marks or lookup.twin_mark:
            return None
        resources = [resource for id_ in ids if (resource := found[id_].resource) is not None]
        listed, rated, ages = b",".join(resources), len(resources), [found[id_].age for id_ in ids]
    oldest = max(ages)
    if oldest >= freshness.shortest_seconds:
        return None
    return Whole(len(ids), rated, listed, now - oldest, now + freshness.first_to_go(ids, ages))


def ticket_of(
    version: int,
    lookup: SharedLookup | None,
    marks: Mapping[Id, Hashable],
    held: Mapping[Id, Resource],
    asked: Sequence[Id],
    now: float,
) -> FillToken:
    """The ticket for a fetch of `asked`: `version` and `marks` are the ledger's, `held` both tiers' holds."""
    unsettled = frozenset(marks) | frozenset(held)
    if lookup is None:
        return FillToken(version, now, marks=marks, unsettled=unsettled)
    marks = {**marks, **lookup.marks}
    if lookup.twin_mark:
        marks = {id_: (lookup.twin_mark, marks.get(id_)) for id_ in asked}
    cap_until = None if lookup.cap is None else now + lookup.cap
    return FillToken(version, now, lookup.version, cap_until, marks, unsettled | frozenset(lookup.marks))


class TakesEntries(Protocol):
    """A read's plan, as the tiers see it: `left` shrinks with each offer."""

    now: float
    left: list[Id]

    def hold(self, held: Mapping[Id, Entry], *, shared: bool) -> Findings:
        """Take written values within their hold."""
        ...

    def offer(self, entries: Mapping[Id, Entry], *, shared: bool, trusted_since: float) -> Findings:
        """Take what a tier has of the ids that are left."""
        ...


class TierMetrics:
    """Counts what one tier said, ids once each: added up here, and counted when the metrics are read."""

    def __init__(self, metrics: Metrics, tier: str) -> None:
        self._counters = {
            result: metrics.cache_ids.labels(tier, result)
            for result in ("hit", "negative", "stale", "miss", "error")
        }
        self._sum = Findings()
        self._errors = 0
        metrics.before_reading(self._settle)

    def add(self, findings: Findings) -> None:
        total = self._sum
        total.hit += findings.hit
        total.negative += findings.negative
        total.stale += findings.stale
        total.miss += findings.miss

    def fresh(self, ids: int, *, rated: int) -> None:
        """All of so many ids were there, fresh."""
        self._sum.hit += rated
        self._sum.negative += ids - rated

    def error(self, ids: int) -> None:
        self._errors += ids

    def _settle(self) -> None:
        total, self._sum = self._sum, Findings()
        errors, self._errors = self._errors, 0
        sums = (total.hit, total.negative, total.stale, total.miss, errors)
        for counter, count in zip(self._counters.values(), sums, strict=True):
            counter.inc(count)
