"""Reads the ids of one partition: memory (`recall`), Redis (`look_up`), then Apple for what is missing."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from gateway.apple.quarantine import Quarantine
from gateway.cache.cache import Cache
from gateway.cache.entry import Entry
from gateway.cache.lookup import Lookup, Tiers, held_entries, local_holds
from gateway.cache.rides import Rides
from gateway.cache.write_rule import StoredRating
from gateway.errors import DeadlineExceeded, GatewayError, Refused, UpstreamError
from gateway.fetch.single_flight import SingleFlight
from gateway.fill_token import FillToken
from gateway.model import PLAIN, Id, Partition, Rating
from gateway.ratings.plan import Candidate, LookupCounts, ReadPlan
from gateway.ratings.query import Part, Query
from gateway.ratings.read_metrics import ReadMetrics
from gateway.ratings.refresh import Refresher
from gateway.ratings.resources import overlay, render
from gateway.ratings.shadow import Shadow
from gateway.waiters import Requester


class Sources(NamedTuple):
    """Where ratings come from, and what happens in the background of an answer."""

    cache: Cache
    flights: SingleFlight
    quarantine: Quarantine
    refresher: Refresher
    shadow: Shadow | None
    """None if hits are not compared with Apple."""
    metrics: ReadMetrics

    def note_hits(
        self, partition: Partition, rides: Rides, ids: Collection[Id], entries: Collection[Entry]
    ) -> None:
        """Count hits on ids that rode, and perhaps check the hits against Apple.

        Without rides and shadow checks it does nothing: hits in memory spare the call.
        """
        if rides:
            self.metrics.top_up_used.inc(rides.answered(ids))
        if self.shadow is not None and self.shadow.drawn():
            self.shadow.check(partition, zip(ids, entries, strict=True))


class PartitionRead:
    """One part of a query: `run` answers it, or `recall` and then `look_up` say what is cached.

    `run` never raises for an id that failed: see `failed`.
    """

    __slots__ = (
        "_due", "_holds", "_local_counts", "_memory", "_now", "_query", "_rendered", "_shared",
        "_shared_counts", "_sources", "admitted", "failed", "fetched", "forwarded", "part", "partition",
        "plan", "stood_in_for", "stored",
    )  # fmt: skip

    def __init__(self, sources: Sources, query: Query, part: Part, now: float) -> None:
        self._sources = sources
        self._query = query
        self._now = now
        self.part = part
        self.partition = query.partition(part)
        self.plan = ReadPlan(part.ids, query.directives, sources.cache.freshness, now)
        self.fetched: Mapping[Id, Rating] = {}
        self.failed: dict[Id, GatewayError] = {}
        self.stood_in_for: UpstreamError | None = None
        """The first of Apple's failures that stale entries stand in for."""
        self.admitted = True
        """False if the variant has no place in the cache: answered, but not stored."""
        self.forwarded = False
        """Whether Apple had to be asked, successfully or not."""
        self.stored = False
        self._memory = _NOTHING
        self._shared: Lookup | None = None
        self._holds: Mapping[Id, StoredRating] = {}
        self._rendered: bytes | None = None
        self._due: Sequence[Id] = ()
        """Cached ids that may be refreshed along with the missing ones."""
        self._local_counts: LookupCounts | None = None
        self._shared_counts: LookupCounts | None = None

    @property
    def tiers(self) -> Tiers:
        """What memory had of the ids, and Redis if it was asked."""
        return Tiers(self._memory, self._shared)

    async def run(self, requester: Requester, unfetched: GatewayError | None = None) -> None:
        """Answer the part. `unfetched`: the error of ids that are not cached, which are then not fetched."""
        cache, plan, directives = self._sources.cache, self.plan, self._query.directives
        self.recall()
        if plan.missing and not directives.no_store:
            self._due = cache.top_up.due(self.partition, self._memory, plan.missing, self._now)
        await self.look_up(keep=not directives.no_store)
        if not requester.counted:
            self._count()
        if unfetched is None and directives.only_if_cached:
            unfetched = not_cached()
        if plan.missing and unfetched is not None:
            self.forwarded = isinstance(unfetched, UpstreamError)
            self._settle(dict.fromkeys(plan.missing, unfetched))
            return
        if not plan.missing and not plan.refresh:
            return
        asked = [*plan.missing, *plan.refresh, *self._due]
        token = cache.fill_token(self.partition, asked, self.tiers, self._now)
        self._due = [id_ for id_ in self._due if id_ not in token.unsettled] if self.admitted else ()
        if plan.refresh:
            self._sources.refresher.refresh(self.partition, plan.refresh, token, self._due)
        if not plan.missing:
            return
        self.forwarded = True
        keep = self.admitted and not directives.no_store
        self._settle(await self._fetch(token, requester, keep=keep))
        settled = not self.fetched.keys() <= token.unsettled
        self.stored = keep and settled and cache.undisturbed(self.partition, token)

    def recall(self) -> None:
        """Take from memory what is fresh there."""
        memory = self._memory = self._sources.cache.recall(self.partition, self._now)
        if memory.holds:
            self._holds = memory.trusted_holds
        self._local_counts = self._take(memory, self._holds, from_redis=False)

    async def look_up(self, *, keep: bool) -> None:
        """Take from Redis what memory lacks, and decide what is served stale; `keep`: keep it in memory."""
        cache, plan = self._sources.cache, self.plan
        if plan.missing and cache.has_shared:
            asked = [*plan.missing, *self._due] if self._due else plan.missing
            shared = await cache.look_up_shared(self.partition, asked, self._memory, self._now, keep=keep)
            self._shared_counts = self._take_shared(shared)
            # Another gateway may have refreshed them.
            self._due = cache.top_up.still_due(self.partition, self._due, shared, self._now)
        self.admitted = cache.memory.admits(self.partition, self._now) and (
            self._shared is None or self._shared.admitted
        )
        refused = self._sources.quarantine.is_refused(self.partition.user.key, self._now)
        plan.resolve(stale_allowed=not refused)

    def stale_for(self, id_: Id, failure: UpstreamError | None) -> Candidate | None:
        """Return the stale entry that stands in for this failure, if one may; None: for a failing Apple."""
        if failure is not None and not failure.stale_allowed:
            return None
        # Asked anew, because a short wait may end before Apple's refusal of the user has arrived.
        refused = self._sources.quarantine.is_refused(self.partition.user.key, self._now)
        return None if refused else self.plan.candidate(id_)

    def render(self) -> bytes:
        """Return the resources of the rated ids that did not fail, in the order asked."""
        if self._rendered is None:
            self._rendered = render(self.part.kind, *self.ratings())
        return self._rendered

    def ratings(self) -> tuple[Sequence[Id], Sequence[Rating]]:
        """Return the ids that did not fail, in the order asked, and their ratings."""
        ids = self.part.ids
        if (complete := self.plan.complete) is not None:
            ratings = [entry.rating for entry in complete]
        else:
            served, fetched = self.plan.served, self.fetched
            if self.failed:
                ids = [id_ for id_ in ids if id_ not in self.failed]
            ratings = [fetched[id_] if (entry := served.get(id_)) is None else entry.rating for id_ in ids]
        if self._holds:
            holds = self._holds
            ratings = [
                overlay(holds[id_].rating, rating) if id_ in holds else rating
                for id_, rating in zip(ids, ratings, strict=True)
            ]
        return ids, ratings

    def _count(self) -> None:
        """Count what the tiers answered, and perhaps check the hits against Apple."""
        sources = self._sources
        if self._local_counts is not None and sources.cache.memory.enabled:
            sources.metrics.memory.add(self._local_counts)
        if self._shared_counts is not None:
            sources.metrics.shared.add(self._shared_counts)
        if self._memory.rides or sources.shadow is not None:
            sources.note_hits(self.partition, self._memory.rides, *self.plan.hits)

    def _take_shared(self, shared: Lookup) -> LookupCounts:
        self._shared = shared
        plan = self.plan
        if self._memory.holds or shared.holds:
            self._holds = self.tiers.holds
            self._hold(local_holds(self._memory, shared), from_redis=False)
        if shared.shared_version is None and not shared.entries:
            counted = LookupCounts(error=len(plan.missing))
        else:
            counted = self._take(shared, shared.holds, from_redis=True)
        if plan.missing:
            # A fetch may have completed while Redis was asked.
            plan.take(self._sources.cache.recall(self.partition, self._now), from_redis=False)
        return counted

    def _take(self, lookup: Lookup, holds: Mapping[Id, StoredRating], *, from_redis: bool) -> LookupCounts:
        if not holds:
            return self.plan.take(lookup, from_redis=from_redis)
        counted = self._hold(holds, from_redis=from_redis)
        counted.add(self.plan.take(lookup, from_redis=from_redis))
        return counted

    def _hold(self, holds: Mapping[Id, StoredRating], *, from_redis: bool) -> LookupCounts:
        # A variant's resource may have more fields: there the hold is laid over the answer instead.
        if self.partition.variant != PLAIN:
            return LookupCounts()
        return self.plan.hold(held_entries(holds), from_redis=from_redis)

    async def _fetch(
        self, token: FillToken, requester: Requester, *, keep: bool
    ) -> Mapping[Id, Rating | GatewayError]:
        missing = self.plan.missing
        wait = self._sources.flights.join(
            self.partition,
            missing,
            token=token,
            keep=keep,
            requester=requester,
            due=self._due,
        )
        try:
            await wait.until(self._query.deadline)
        finally:
            wait.leave()
        fetched = sum(not isinstance(result, GatewayError) for result in wait.results.values())
        self.plan.counts.collapsed += min(wait.collapsed, fetched)
        late = _late(wait.failure, called=bool(requester.calls or wait.collapsed))
        return {id_: wait.results.get(id_, late) for id_ in missing}

    def _settle(self, results: Mapping[Id, Rating | GatewayError]) -> None:
        fetched: dict[Id, Rating] = {}
        for id_, result in results.items():
            if not isinstance(result, GatewayError):
                fetched[id_] = result
            elif isinstance(result, UpstreamError) and self.stale_for(id_, result) is not None:
                self.plan.stand_in(id_)
                self.stood_in_for = self.stood_in_for or result
            else:
                self.failed[id_] = result
        self.fetched = fetched
        self.plan.counts.upstream += len(fetched)


_NOTHING = Lookup()


def _late(failure: UpstreamError | None, *, called: bool) -> DeadlineExceeded:
    """Return the error of ids that are not fetched in time.

    `failure` is that of the try before this one; `called`: whether any call was made, or joined.
    """
    if failure is None and not called:
        detail = "No slot for a call to Apple Music became free within the time that the request allows."
        return DeadlineExceeded(detail, proxy_error="connection_limit_reached")
    if failure is None:
        return DeadlineExceeded("Apple Music did not answer within the time that the request allows.")
    status = failure.received_status
    if status is None:
        detail = f"{failure.detail} The request allows no time to try again."
        return DeadlineExceeded(detail, proxy_error=failure.proxy_error)
    detail = f"Apple Music answered {status}, and the request allows no time to ask again."
    return DeadlineExceeded(detail, received_status=status)


def not_cached() -> Refused:
    """Return the error of a request that only Apple could answer, although it forbids asking Apple."""
    return Refused(504, "50400", "Gateway Timeout", "Not cached, and only-if-cached forbids asking Apple.")
