"""Where the answer for one id would come from now, and why: for whoever asks at three in the morning."""

from collections.abc import Callable
from typing import Any

from gateway.cache.entry import Entry
from gateway.cache.lookup import Consulted
from gateway.clock import Clock
from gateway.model import Id, Kind, Partition, Resource, User
from gateway.ratings.partition_read import Sources
from gateway.ratings.plan import ReadPlan
from gateway.ratings.query import Directives


class Explainer:
    """Walks the road of a read without fetching anything or keeping what it finds."""

    def __init__(self, sources: Sources, clock: Clock, *, stopped: Callable[[float], bool]) -> None:
        self._sources = sources
        self._clock = clock
        self._stopped = stopped
        """Whether calls to Apple are stopped at a moment, because too many failed."""

    async def explain(self, user: User, kind: Kind, id_: Id) -> dict[str, Any]:
        """JSON-ready; times in seconds."""
        cache, flights, quarantine, *_ = self._sources
        partition = Partition(user, kind)
        now = self._clock.monotonic()
        trusted_since = cache.trusted_since(now)
        local = cache.local.partition(partition).get(id_)
        # Directives of its own make the plan weigh each entry, which is what is to be shown.
        plan = ReadPlan([id_], Directives(), cache.freshness, now)
        consulted = await cache.consult(partition, plan, keep=False)
        quarantined = quarantine.active(user.key, now)
        plan.resolve(stale_allowed=not quarantined)
        served = plan.served.get(id_)
        stopped = served is None and self._stopped(now)
        stale = plan.served[id_] if served is None and not quarantined and plan.stand_in(id_) else None
        asks = served is None and not (stopped and stale)
        return {
            "type": kind.value,
            "id": id_,
            "user": user.label,
            "source": "upstream" if asks else "shared" if plan.tally.shared else "local",
            "why": _why_served(plan, held=id_ in consulted.held)
            if served is not None
            else _why_asked(
                stale=stale is not None,
                quarantined=quarantined,
                stopped=stopped,
                unsettled=id_ in consulted.ticket.unsettled,
            ),
            "entry": None if served is None else self._shown(served, now, trusted_since),
            "stale": None if stale is None else self._shown(stale, now, trusted_since),
            "local": None if local is None else self._shown(local, now, trusted_since),
            "hold": _hold(consulted, id_, now),
            "in_flight": flights.flying(partition, id_),
            "quarantined": quarantined,
        }

    def _shown(self, entry: Entry, now: float, trusted_since: float) -> dict[str, Any]:
        return {
            "rating": value_of(entry.resource),
            "age_seconds": round(now - entry.fetched_at, 3),
            "fresh_for_seconds": round(entry.fresh_until - now, 3),
            "state": self._sources.cache.freshness.usability(entry, now, trusted_since).name.lower(),
            "believed": entry.known_at >= trusted_since,
        }


def _hold(consulted: Consulted, id_: Id, now: float) -> dict[str, Any] | None:
    if id_ not in consulted.held:
        return None
    seconds = consulted.held_until.get(id_, now) - now
    return {"rating": value_of(consulted.held[id_]), "for_seconds": round(seconds, 3)}


def value_of(resource: Resource) -> int | None:
    """1 or -1; None where unrated."""
    if resource is None:
        return None
    return -1 if b'"value":-1' in resource.replace(b" ", b"") else 1


def _why_served(plan: ReadPlan, *, held: bool) -> str:
    if held:
        return "It was written through a gateway a moment ago: the written value outranks what Apple reports."
    tier = "Redis" if plan.tally.shared else "this process"
    if plan.refresh:
        return f"It is in {tier}, stale: it is served at once and refreshed behind the answer."
    return f"It is in {tier}, and fresh."


def _why_asked(*, stale: bool, quarantined: bool, stopped: bool, unsettled: bool) -> str:
    if quarantined:
        return "Apple refused this user token a moment ago, and nothing fresh is cached: the answer is 403."
    if stopped and stale:
        return "Calls to Apple are stopped, because too many failed: what is stale is served."
    if stopped:
        return (
            "Calls to Apple are stopped, because too many failed, and nothing is cached: the answer is 503."
        )
    if unsettled:
        return "A write is under way, or Apple did not confirm it: Apple is asked, and nothing is kept."
    if stale:
        return "What is cached must not be served unasked: Apple is asked, and where it fails that is served."
    return "Nothing usable is cached: Apple is asked, together with whoever asks for it at the moment."
