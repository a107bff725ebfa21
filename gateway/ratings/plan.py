"""Which ids of one partition are answered from what is cached, and which must be fetched: pure bookkeeping.

A plan is offered what each tier knows, best tier first; `resolve` then says what is left to fetch.
"""

from collections.abc import Iterable, Mapping

import msgspec

from gateway.cache.entry import Entry, Freshness, Usability
from gateway.cache.lookup import Findings
from gateway.model import Id
from gateway.ratings.query import NO_DIRECTIVES, Directives, TierCounts


class Candidate(msgspec.Struct, frozen=True):
    """An entry that is not good enough to be a hit, kept in case nothing better comes."""

    entry: Entry
    usability: Usability
    shared: bool
    believed: bool
    """False where news of writes may have been missed since it came in: it serves only where Apple fails."""


class ReadPlan:
    """What is served, what is left, and what may stand in where Apple fails."""

    def __init__(self, ids: Iterable[Id], directives: Directives, freshness: Freshness, now: float) -> None:
        self._directives = directives
        self._freshness = freshness
        self.now = now
        self._candidates: dict[Id, Candidate] = {}
        self.left = list(ids)
        """Ids that nothing offered so far answers."""
        self.served: dict[Id, Entry] = {}
        self.refresh: list[Id] = []
        """Served stale, to be refreshed behind the answer."""
        self.tally = TierCounts()
        self.overruled = directives.no_cache
        """Whether a request directive keeps an entry from being served that would else be served at once."""

    def hold(self, held: Mapping[Id, Entry], *, shared: bool) -> Findings:
        """Values within their write's hold answer whatever the directives say."""
        findings = Findings()
        for id_ in [id_ for id_ in self.left if id_ in held]:
            self._serve(id_, held[id_], shared=shared)
            _count_fresh(findings, held[id_])
        self.left = [id_ for id_ in self.left if id_ not in self.served]
        return findings

    def offer(self, entries: Mapping[Id, Entry], *, shared: bool, trusted_since: float) -> Findings:
        """Serve what is fresh and admissible of `entries`; remember the rest for `resolve`."""
        if not entries:
            return Findings(miss=len(self.left))
        findings = Findings()
        left = []
        served, now, choosy = self.served, self.now, self._directives is not NO_DIRECTIVES
        for id_ in self.left:
            entry = entries.get(id_)
            if entry is None:
                findings.miss += 1
                left.append(id_)
            elif entry.fresh_until <= now or entry.known_at < trusted_since:
                left.append(id_)
                self._consider(id_, entry, findings, shared=shared, trusted_since=trusted_since)
            elif choosy and not self._admissible(entry):
                # No hit, though it is fresh: the next tier is asked, or Apple.
                findings.miss += 1
                self.overruled = True
                left.append(id_)
                self._remember(id_, Candidate(entry, Usability.FRESH, shared, believed=True))
            else:
                _count_fresh(findings, entry)
                served[id_] = entry
        self._tally(len(self.left) - len(left), shared=shared)
        self.left = left
        return findings

    def resolve(self, *, stale_allowed: bool) -> None:
        """Serve the stale entries that need not wait for Apple; what is `left` then must be fetched."""
        left = []
        for id_ in self.left:
            candidate = self._candidates.get(id_)
            if candidate is None or not stale_allowed:
                left.append(id_)
                continue
            revalidated = candidate.usability is Usability.REVALIDATE
            if not self._served_stale(candidate):
                self.overruled |= revalidated
                left.append(id_)
                continue
            self._serve(id_, candidate.entry, shared=candidate.shared)
            self.tally.stale += 1
            if revalidated and not self._directives.only_if_cached:
                self.refresh.append(id_)
        self.left = left

    def stand_in(self, id_: Id) -> bool:
        """Serve a stale entry because Apple failed; False where there is none or none may be."""
        candidate = self._candidates.get(id_)
        if candidate is None or self._directives.no_cache:
            return False
        self._serve(id_, candidate.entry, shared=candidate.shared)
        self.tally.stale += 1
        return True

    def _served_stale(self, candidate: Candidate) -> bool:
        directives, entry = self._directives, candidate.entry
        if not candidate.believed or not self._admissible(entry):
            return False
        if directives.max_stale is not None and not entry.ask_when_stale:
            return self.now - entry.fresh_until <= directives.max_stale
        return candidate.usability is Usability.REVALIDATE and directives.max_age is None

    def _admissible(self, entry: Entry) -> bool:
        directives = self._directives
        if directives.no_cache:
            return False
        return directives.max_age is None or self.now - entry.fetched_at <= directives.max_age

    def _consider(
        self, id_: Id, entry: Entry, findings: Findings, *, shared: bool, trusted_since: float
    ) -> None:
        usability = self._freshness.usability(entry, self.now, trusted_since)
        if usability is Usability.GONE:
            findings.miss += 1
            return
        findings.stale += 1
        self._remember(id_, Candidate(entry, usability, shared, entry.known_at >= trusted_since))

    def _remember(self, id_: Id, candidate: Candidate) -> None:
        best = self._candidates.get(id_)
        if best is None or candidate.entry.fetched_at > best.entry.fetched_at:
            self._candidates[id_] = candidate

    def _serve(self, id_: Id, entry: Entry, *, shared: bool) -> None:
        self.served[id_] = entry
        self._tally(1, shared=shared)

    def _tally(self, ids: int, *, shared: bool) -> None:
        if shared:
            self.tally.shared += ids
        else:
            self.tally.local += ids


def _count_fresh(findings: Findings, entry: Entry) -> None:
    if entry.resource is None:
        findings.negative += 1
    else:
        findings.hit += 1
