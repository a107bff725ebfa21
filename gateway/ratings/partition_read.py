"""One partition's share of a read: consult the tiers, fetch what is left, let stale entries stand in."""

from collections.abc import Mapping
from typing import NamedTuple

from gateway.apple.quarantine import Quarantine
from gateway.cache.cache import Cache
from gateway.cache.holds import overlay
from gateway.cache.lookup import FillToken, Glance, Whole
from gateway.errors import DeadlineExceeded, GatewayError, Refused, UpstreamError
from gateway.fetch.single_flight import SingleFlight
from gateway.model import Id, Priority, Resource
from gateway.ratings.plan import ReadPlan
from gateway.ratings.query import NO_DIRECTIVES, Part, Query
from gateway.ratings.refresh import Refresher
from gateway.ratings.shadow import Shadow
from gateway.waiters import Requester


class Sources(NamedTuple):
    """Where ratings come from, and who refreshes and checks them behind the answer."""

    cache: Cache
    flights: SingleFlight
    quarantine: Quarantine
    refresher: Refresher
    shadow: Shadow | None
    """None where no hit is to be compared with Apple."""


class PartitionRead:
    """Reads one part of a query; `run` never raises for an id that cannot be had: see `failed`."""

    def __init__(
        self,
        sources: Sources,
        query: Query,
        part: Part,
        requester: Requester,
        now: float,
        glance: Glance | None = None,
    ) -> None:
        self._sources = sources
        self._query = query
        self._shelf = query.partition(part)
        self.requester = requester
        self._held: Mapping[Id, Resource] = {}
        self._now = now if glance is None else glance.asked_at
        self._glance = glance
        self.part = part
        self.whole: Whole | None = None
        """The answer to all ids, where Redis had it whole; there is nothing else then."""
        self.fetched: dict[Id, Resource] = {}
        self.failed: dict[Id, GatewayError] = {}
        self.stood_in_for: UpstreamError | None = None
        """The first failure of Apple's that stale entries stand in for."""
        self.admitted = True
        """False for a variant over the bound: answered, not kept."""
        self.forwarded = False
        """Whether anything had to be asked of Apple, in vain or not."""
        self.stored = False

    async def run(self) -> None:
        """Read; what Redis was asked before is not asked again."""
        cache, _, quarantine, refresher, shadow = self._sources
        directives, glance = self._query.directives, self._glance
        if glance is None and directives is NO_DIRECTIVES:
            found = await cache.glance(self._shelf, self.part.ids, self._now)
            if isinstance(found, Whole):
                self.whole = found
                if shadow is not None and shadow.drawn():
                    shadow.check_listed(self._shelf, self.part.ids, found.listed)
                return
            glance = found
        self.plan = ReadPlan(self.part.ids, directives, cache.freshness, self._now)
        keep = not directives.no_store
        consulted = await cache.consult(self._shelf, self.plan, keep=keep, glance=glance)
        self.admitted = consulted.admitted
        self._held = consulted.held
        self.plan.resolve(stale_allowed=not quarantine.active(self._shelf.user.key, self.plan.now))
        if shadow is not None and shadow.drawn():
            shadow.check_entries(self._shelf, self.plan.served.items(), self.plan.now)
        if self.plan.refresh:
            refresher.refresh(self._shelf, self.plan.refresh, consulted.ticket)
        if self.plan.left and directives.only_if_cached:
            self._settle(dict.fromkeys(self.plan.left, not_cached()))
        elif self.plan.left:
            self.forwarded = True
            keep = keep and self.admitted
            self._settle(await self._fetch(consulted.ticket, keep=keep))
            self.stored = keep and not self.fetched.keys() <= consulted.ticket.unsettled

    async def _fetch(self, ticket: FillToken, *, keep: bool) -> Mapping[Id, Resource | GatewayError]:
        waiter = self._sources.flights.join(
            self._shelf,
            self.plan.left,
            ticket=ticket,
            marks=ticket.marks,
            keep=keep,
            priority=Priority.FOREGROUND,
            requester=self.requester,
        )
        try:
            await waiter.wait(self._query.deadline)
        finally:
            waiter.leave()
        brought = sum(not isinstance(outcome, GatewayError) for outcome in waiter.outcomes.values())
        self.plan.tally.collapsed += min(waiter.collapsed, brought)
        late = DeadlineExceeded("Apple Music did not answer within the time that the request allows.")
        return {id_: waiter.outcomes.get(id_, late) for id_ in self.plan.left}

    def _settle(self, outcomes: Mapping[Id, Resource | GatewayError]) -> None:
        # A short wait may end before the refusal is heard.
        refused = self._sources.quarantine.active(self._shelf.user.key, self.plan.now)
        for id_, outcome in outcomes.items():
            if not isinstance(outcome, GatewayError):
                self.fetched[id_] = outcome
            elif refused or not isinstance(outcome, UpstreamError) or not outcome.stale_allowed:
                self.failed[id_] = outcome
            elif self.plan.stand_in(id_):
                self.stood_in_for = self.stood_in_for or outcome
            else:
                self.failed[id_] = outcome
        self.plan.tally.upstream += len(self.fetched)

    def resource(self, id_: Id) -> Resource:
        """What is known of an id that did not fail, with a write still within its hold laid over it."""
        entry = self.plan.served.get(id_)
        resource = self.fetched[id_] if entry is None else entry.resource
        return overlay(self._held[id_], resource) if id_ in self._held else resource


def not_cached() -> Refused:
    """What becomes of a request that must not go on to Apple, and would have to."""
    return Refused(504, "50400", "Gateway Timeout", "Not cached, and only-if-cached forbids asking Apple.")
