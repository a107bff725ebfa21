"""Explains where the answer for one id would come from now, and why, for operators."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from gateway.apple.quarantine import Quarantine
from gateway.cache.entry import Entry
from gateway.cache.lookup import Lookup
from gateway.cache.write_rule import StoredRating
from gateway.clock import Clock
from gateway.errors import BreakerOpen, Cause, Quarantined, UpstreamError
from gateway.model import Id, Kind, Partition, User, value_of
from gateway.ratings.partition_read import PartitionRead, Sources
from gateway.ratings.plan import ReadPlan
from gateway.ratings.query import Part, Query

Refusal: TypeAlias = Callable[[Partition, Id, float], UpstreamError | None]


class Explainer:
    """Follows the path of a read, without fetching or storing anything.

    `refusal(partition, id, now)` is the error that answers without a call to Apple, or None.
    """

    def __init__(self, sources: Sources, clock: Clock, *, refusal: Refusal) -> None:
        self._sources = sources
        self._clock = clock
        self._refusal = refusal

    async def explain(self, user: User, kind: Kind, id_: Id) -> dict[str, Any]:
        """Return a JSON-ready explanation; times in seconds."""
        cache, flights, quarantine = self._sources.cache, self._sources.flights, self._sources.quarantine
        now, part = self._clock.monotonic(), Part(kind, (id_,))
        read = PartitionRead(self._sources, Query(user, (part,)), part, now)
        read.recall()
        local = read.tiers.memory.entries.get(id_)
        await read.look_up(keep=False)
        partition, plan = read.partition, read.plan
        memory, shared = read.tiers
        served = plan.served.get(id_)
        refusal = None if served is not None else self._refusal(partition, id_, now)
        candidate = None if served is not None else read.stale_for(id_, refusal)
        stale = None if candidate is None else candidate.entry
        asks = served is None and (refusal is None or stale is None)
        from_redis = plan.counts.shared > 0 if candidate is None else candidate.from_redis
        held = read.tiers.holds.get(id_)
        unsettled = id_ in cache.fill_token(partition, [id_], read.tiers, now).unsettled
        return {
            "type": kind.value,
            "id": id_,
            "user": user.label,
            "source": "upstream" if asks else "shared" if from_redis else "local",
            "why": _why_served(plan, held=held is not None)
            if served is not None
            else _why_not_asked(refusal, stale=stale is not None)
            if refusal is not None
            else _why_asked(stale, unsettled=unsettled, shared=shared, trusted_since=memory.trusted_since),
            "entry": None if served is None else self._shown(served, now, memory.trusted_since),
            "stale": None if stale is None else self._shown(stale, now, memory.trusted_since),
            "local": None if local is None else self._shown(local, now, memory.trusted_since),
            "top_up": id_ in memory.rides,
            "hold": None if held is None else _hold(held, now),
            "in_flight": flights.in_flight(partition, id_),
            "quarantined": quarantine.is_refused(user.key, now),
            "isolated": _isolated(quarantine, user, now),
        }

    def _shown(self, entry: Entry, now: float, trusted_since: float) -> dict[str, Any]:
        return {
            "rating": value_of(entry.rating),
            "age_seconds": round(now - entry.fetched_at, 3),
            "fresh_for_seconds": round(entry.fresh_until - now, 3),
            "state": self._sources.cache.freshness.usability(entry, now, trusted_since).name.lower(),
            "trusted": entry.trusted_at >= trusted_since,
        }


def _isolated(quarantine: Quarantine, user: User, now: float) -> Sequence[str]:
    """Return which calls are not sent to Apple because it fails for this user alone."""
    if quarantine.is_refused(user.key, now):
        return ()
    return tuple(
        calls
        for calls, write in (("reads", False), ("writes", True))
        if quarantine.answer(user.key, now, write=write) is not None
    )


def _hold(held: StoredRating, now: float) -> dict[str, Any]:
    return {
        "rating": value_of(held.rating),
        "for_seconds": round((held.held_until or now) - now, 3),
    }


def _why_served(plan: ReadPlan, *, held: bool) -> str:
    if held:
        return "It was written through a gateway recently: the written rating outranks what Apple reports."
    tier = "Redis" if plan.counts.shared else "this process"
    if plan.refresh:
        return f"It is in {tier}, stale: it is served at once and refreshed in the background."
    return f"It is in {tier}, and fresh."


def _why_not_asked(refusal: UpstreamError, *, stale: bool) -> str:
    if isinstance(refusal, BreakerOpen):
        why = "The circuit breaker stops calls to Apple"
    elif refusal.cause is Cause.ID:
        why = "Apple failed for this id, or refused it, in the last seconds and is not asked again yet"
    elif isinstance(refusal, Quarantined):
        why = "Apple refused this user token recently and is not asked again yet"
    else:
        why = "Apple failed for this user, not for others, and is not asked again yet"
    if stale:
        return f"{why}: the stale entry is served."
    return f"{why}, and nothing is cached that may be served: the answer is {refusal.status}."


def _why_asked(stale: Entry | None, *, unsettled: bool, shared: Lookup | None, trusted_since: float) -> str:
    if unsettled:
        return "A write is under way, or Apple did not confirm it: Apple is asked, and nothing is stored."
    if stale is not None:
        doubtful = stale.ask_when_stale or stale.trusted_at < trusted_since
        why = "is too old, or may have changed" if doubtful else "is too old"
        return f"The cached entry {why}: Apple is called, and it is served only if Apple fails."
    why = "Nothing usable is cached: Apple is asked, together with every other request for this id."
    if shared is not None and shared.shared_version is None:
        return f"{why} Redis did not answer, or has not received all writes of this user."
    return why
