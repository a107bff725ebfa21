"""The lookup of some ids of one partition in a tier, and what follows from two of them."""

from collections.abc import Hashable, Mapping, Sequence
from math import inf
from typing import NamedTuple

import msgspec

from gateway.cache.complete import Complete
from gateway.cache.entry import Entry
from gateway.cache.rides import Rides
from gateway.cache.write_rule import StoredRating
from gateway.fill_token import FillToken
from gateway.model import Id

NO_RIDES = Rides()


class Lookup(msgspec.Struct, frozen=True):
    """The result of looking up some ids of one partition in one tier, memory or Redis.

    An id that is in neither `entries` nor `holds` is a miss. Times are monotonic seconds of this process.
    """

    version: int = 0
    """Of memory: the write version of this process at the time of the lookup."""
    shared_version: bytes | None = None
    """Of Redis: its write version then. None: Redis did not answer, or cannot be trusted yet."""
    entries: dict[Id, Entry] = {}
    """Of memory, all of the partition's, in the order in which they were stored."""
    complete: Complete | None = None
    """The entries, if Redis is known to have a fresh one of every id asked for."""
    holds: Mapping[Id, StoredRating] = {}
    """Written ratings within their hold: they outrank what Apple reports, in every variant."""
    pending: Mapping[Id, Hashable] = {}
    """In Redis: stamps of writes under way, or whose end is unknown. Join no fetch from before its stamp."""
    rides: Rides = NO_RIDES
    """Which ids were refreshed along with others, in memory."""
    trusted_since: float = -inf
    """Entries that were last trusted before may have missed an invalidation."""
    admitted: bool = True
    """False: the variant has no place among those that are cached."""
    paired_stamp: bytes = b""
    """Stamp of the latest write on the paired type, from Redis: join no fetch from before it."""
    cap_until: float | None = None
    """Until when a rating fetched now may be served without asking: a write on the paired type is recent."""
    redis_ahead: float = 0.0
    """What to add to times here to get times of Redis' clock, exact to its ticks."""
    own_replays: frozenset[Id] = frozenset()
    """Ids whose pending marker came from our own retry."""

    @property
    def trusted_holds(self) -> dict[Id, StoredRating]:
        """The holds of which no later invalidation can have been missed."""
        since = self.trusted_since
        return {id_: held for id_, held in self.holds.items() if held.fetched_at >= since}


def undisputed(holds: Mapping[Id, StoredRating], shared: Lookup) -> dict[Id, StoredRating]:
    """Return the holds that stand although invalidations may be missing: Redis has no later write."""
    if not holds or shared.shared_version is None:
        return dict(holds)
    disputed = shared.holds.keys() | (shared.pending.keys() - shared.own_replays)
    return {id_: held for id_, held in holds.items() if id_ not in disputed}


def local_holds(memory: Lookup, shared: Lookup | None) -> dict[Id, StoredRating]:
    """Return the holds of writes through this gateway that stand, given the lookup in Redis."""
    if not memory.holds:
        return {}
    if shared is None:
        return memory.trusted_holds
    return memory.trusted_holds | undisputed(memory.holds, shared)


def held_entries(holds: Mapping[Id, StoredRating]) -> dict[Id, Entry]:
    """Render holds as entries that are fresh for as long as they are held."""
    return {
        id_: Entry(held.rating, held.fetched_at, held.fetched_at, held.held_until or held.fetched_at)
        for id_, held in holds.items()
    }


class Tiers(NamedTuple):
    """What both tiers have of some ids of one partition."""

    memory: Lookup
    shared: Lookup | None
    """None: Redis was not asked."""

    @property
    def holds(self) -> Mapping[Id, StoredRating]:
        """The holds that stand, of writes through any gateway."""
        own = local_holds(self.memory, self.shared)
        return {**own, **self.shared.holds} if self.shared is not None and self.shared.holds else own


def fill_token(tiers: Tiers, pending: Mapping[Id, int], asked: Sequence[Id], now: float) -> FillToken:
    """Create the token for a fetch of `asked` after lookups at `now`; `pending` are this gateway's writes."""
    memory, shared = tiers
    unsettled = frozenset(pending).union(tiers.holds)
    if shared is None:
        return FillToken(memory.version, now, pending=pending, unsettled=unsettled)
    stamps: dict[Id, Hashable] = {**pending, **shared.pending}
    if shared.paired_stamp:
        stamps = {id_: (shared.paired_stamp, stamps.get(id_)) for id_ in asked}
    return FillToken(
        memory.version, now, shared.shared_version, shared.cap_until, stamps, unsettled.union(shared.pending)
    )
