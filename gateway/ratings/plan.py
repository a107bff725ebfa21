"""Which ids of one partition are answered from the cache, and which must be fetched: pure bookkeeping.

A plan takes the lookup of each tier, the best tier first. `resolve` then decides what is served stale; what
is `missing` after that must be fetched.
"""

from collections.abc import Collection, Mapping, Sequence
from math import inf

import msgspec

from gateway.cache.complete import Complete, complete
from gateway.cache.entry import Entry, Freshness, Usability
from gateway.cache.lookup import Lookup
from gateway.model import Id
from gateway.ratings.query import NO_DIRECTIVES, Directives, TierCounts


class Candidate(msgspec.Struct, frozen=True, eq=False):
    """An entry that is of some use. One that is not a hit is kept in case no tier has a better one.

    Ids that share an entry share its candidate.
    """

    entry: Entry
    usability: Usability
    from_redis: bool
    trusted: bool
    """False if an invalidation may have been missed since: it serves only if Apple fails."""
    hit: bool
    """Whether it is fresh, and no directive rejects it."""


class LookupCounts(msgspec.Struct):
    """How one tier answered for the ids it was asked for: the results of `cache_ids_total`."""

    hit: int = 0
    negative: int = 0
    stale: int = 0
    miss: int = 0
    error: int = 0

    def add(self, other: "LookupCounts") -> None:
        """Add the tier's counts from another time, or for other ids."""
        self.hit += other.hit
        self.negative += other.negative
        self.stale += other.stale
        self.miss += other.miss
        self.error += other.error


class ReadPlan:
    """What is served, what is missing, and what may be served if Apple fails."""

    __slots__ = (
        "_candidates", "_complete", "_directives", "_freshness", "_ids", "_served", "counts", "missing",
        "now", "oldest", "overruled", "refresh", "soonest",
    )  # fmt: skip

    def __init__(self, ids: Sequence[Id], directives: Directives, freshness: Freshness, now: float) -> None:
        self._directives = directives
        self._freshness = freshness
        self._candidates: dict[Id, Candidate] = {}
        self.now = now
        self._ids = ids
        self._complete: Sequence[Entry] | None = None
        """The entries of all ids, if one tier had them all fresh: most reads, and no dictionary is needed."""
        self._served: dict[Id, Entry] = {}
        self.missing: Sequence[Id] = ids
        """Ids that no tier has answered so far."""
        self.refresh: list[Id] = []
        """Served stale, to be refreshed in the background."""
        self.counts = TierCounts()
        self.oldest = inf
        """When Apple reported the oldest entry served."""
        self.soonest = inf
        """When the first entry served ends being fresh."""
        self.overruled = directives.no_cache
        """Whether a directive rejected an entry that would be served otherwise."""

    @property
    def served(self) -> Mapping[Id, Entry]:
        """The entries served, by id."""
        if self._complete is not None:
            return dict(zip(self._ids, self._complete, strict=True))
        return self._served

    @property
    def complete(self) -> Sequence[Entry] | None:
        """The entries of all ids in the order asked, if one tier had them all fresh."""
        return self._complete

    @property
    def hits(self) -> tuple[Collection[Id], Collection[Entry]]:
        """The ids served fresh, and their entries."""
        if self._complete is not None:
            return self._ids, self._complete
        hits = {id_: entry for id_, entry in self._served.items() if entry.fresh_until > self.now}
        return hits.keys(), hits.values()

    def take(self, lookup: Lookup, *, from_redis: bool) -> LookupCounts:
        """Serve what is fresh and admissible; remember the rest for `resolve`."""
        entries = lookup.entries
        if entries.keys().isdisjoint(self.missing):
            return LookupCounts(miss=len(self.missing))
        if self._directives is NO_DIRECTIVES:
            found = lookup.complete
            if found is None or found.ids is not self.missing:
                # The tier did not judge them, or not them alone: ids that may ride along were asked for too.
                found = complete(self.missing, entries, self.now, lookup.trusted_since)
            if found is not None:
                return self._serve_all(found, from_redis=from_redis)
        candidates = self._judge(lookup, from_redis=from_redis)
        hits, missing, stale = {}, [], 0
        for id_ in self.missing:
            entry = entries.get(id_)
            candidate = None if entry is None else candidates.get(entry)
            if candidate is None:
                missing.append(id_)
            elif candidate.hit:
                hits[id_] = candidate.entry
            else:
                missing.append(id_)
                stale += candidate.usability is not Usability.FRESH
                self._remember(id_, candidate)
        self.missing = missing
        counted = self._serve(hits, from_redis=from_redis)
        counted.stale, counted.miss = stale, len(missing) - stale
        return counted

    def hold(self, held: Mapping[Id, Entry], *, from_redis: bool) -> LookupCounts:
        """Serve ratings within their write's hold, regardless of directives."""
        if not held:
            return LookupCounts()
        served = {id_: held[id_] for id_ in self.missing if id_ in held}
        self.missing = [id_ for id_ in self.missing if id_ not in held]
        return self._serve(served, from_redis=from_redis)

    def resolve(self, *, stale_allowed: bool) -> None:
        """Serve the stale entries that need not wait for Apple; what is `missing` then must be fetched."""
        if not (self._candidates and stale_allowed):
            return
        allowed = {each: self._served_stale(each) for each in set(self._candidates.values())}
        served: dict[bool, dict[Id, Entry]] = {False: {}, True: {}}
        missing: list[Id] = []
        for id_ in self.missing:
            candidate = self._candidates.get(id_)
            if candidate is None:
                missing.append(id_)
                continue
            revalidated = candidate.usability is Usability.REVALIDATE
            if not allowed[candidate]:
                self.overruled |= revalidated
                missing.append(id_)
                continue
            served[candidate.from_redis][id_] = candidate.entry
            if revalidated and self._directives.refreshes:
                self.refresh.append(id_)
        self.missing = missing
        for from_redis, entries in served.items():
            self._serve(entries, from_redis=from_redis)
            self.counts.stale += len(entries)

    def candidate(self, id_: Id) -> Candidate | None:
        """Return the entry that `stand_in` would serve; None if there is none or none is allowed."""
        return None if self._directives.no_cache else self._candidates.get(id_)

    def stand_in(self, id_: Id) -> None:
        """Serve the candidate of this id because Apple failed; there must be one."""
        candidate = self._candidates[id_]
        self._serve({id_: candidate.entry}, from_redis=candidate.from_redis)
        self.counts.stale += 1

    def _serve_all(self, found: Complete, *, from_redis: bool) -> LookupCounts:
        if self._served:
            self._served.update(zip(self.missing, found.entries, strict=True))
        else:
            self._complete = found.entries
        self._count(len(found.entries), from_redis=from_redis)
        self._note_times(found.oldest, found.soonest)
        self.missing = ()
        return LookupCounts(hit=len(found.entries) - found.negative, negative=found.negative)

    def _judge(self, lookup: Lookup, *, from_redis: bool) -> dict[Entry, Candidate]:
        """Judge the entries of the missing ids, each distinct one once; those of no use are left out."""
        candidates = {}
        for entry in set(map(lookup.entries.get, self.missing)):
            if entry is None:
                continue
            usability = self._freshness.usability(entry, self.now, lookup.trusted_since)
            if usability is Usability.GONE:
                continue
            fresh = usability is Usability.FRESH
            hit = fresh and self._admissible(entry)
            # A fresh entry that a directive rejects is not a hit: the next tier is asked, or Apple.
            self.overruled |= fresh and not hit
            trusted = entry.trusted_at >= lookup.trusted_since
            candidates[entry] = Candidate(entry, usability, from_redis, trusted, hit)
        return candidates

    def _served_stale(self, candidate: Candidate) -> bool:
        directives, entry = self._directives, candidate.entry
        if not candidate.trusted or not self._admissible(entry):
            return False
        if directives.max_stale is not None and not entry.ask_when_stale:
            return self.now - entry.fresh_until <= directives.max_stale
        return candidate.usability is Usability.REVALIDATE and directives.max_age is None

    def _admissible(self, entry: Entry) -> bool:
        directives = self._directives
        if directives.no_cache:
            return False
        return directives.max_age is None or self.now - entry.fetched_at <= directives.max_age

    def _remember(self, id_: Id, candidate: Candidate) -> None:
        best = self._candidates.get(id_)
        if best is None or candidate.entry.fetched_at > best.entry.fetched_at:
            self._candidates[id_] = candidate

    def _serve(self, found: Mapping[Id, Entry], *, from_redis: bool) -> LookupCounts:
        """Serve hits; return how many are rated, and how many unrated."""
        self._served.update(found)
        self._count(len(found), from_redis=from_redis)
        for entry in set(found.values()):
            self._note_times(entry.fetched_at, entry.fresh_until)
        negative = sum([entry.rating is None for entry in found.values()])
        return LookupCounts(hit=len(found) - negative, negative=negative)

    def _note_times(self, fetched_at: float, fresh_until: float) -> None:
        self.oldest = min(self.oldest, fetched_at)
        self.soonest = min(self.soonest, fresh_until)

    def _count(self, ids: int, *, from_redis: bool) -> None:
        if from_redis:
            self.counts.shared += ids
        else:
            self.counts.local += ids
