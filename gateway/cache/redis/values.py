"""What the shared tier answers, and the shape that everybody who stands in for it has."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from gateway.cache.invalidation import Invalidation
from gateway.cache.write_rule import Outcome
from gateway.model import Id, Kind, Partition, Resource


class Found(msgspec.Struct, frozen=True, gc=False):
    """One cached rating."""

    resource: Resource
    age: float
    """Seconds since it was stored, by Redis' own time; at least 0."""
    cap: float | None = None
    """Seconds from now until it is not served without asking Apple (0 or less: already so); None: no cap."""
    held: bool = False
    """Whether it was written through a gateway and outranks what Apple reports now."""
    held_seconds: float = 0.0
    """For how long from now it does."""


class SharedLookup(msgspec.Struct, frozen=True):
    """What Redis knows of some ids of one partition; an id in neither `found` nor `held` is a miss."""

    version: bytes | None = None
    """The ticket for a later `fill`; None: Redis could not be asked, or not believed: store nothing."""
    found: dict[Id, Found] = {}
    held: dict[Id, Resource] = {}
    """Written values within their hold, in every variant; the plain partition has them in `found` too."""
    marks: dict[Id, bytes] = {}
    """Ids whose write is under way or ended unknown, with its stamp: join no fetch from before that stamp."""
    late: frozenset[Id] = frozenset()
    """Ids whose mark says no more than that Redis heard late of a write made through this gateway."""
    twin_mark: bytes = b""
    """The stamp of the latest write on the twin kind: join no fetch from before it; b"": there was none."""
    cap: float | None = None
    """Seconds from now until what is fetched now is not served without asking: a write on the twin kind."""
    admitted: bool = True
    """False: the variant is one too many for this user and kind; answer uncached."""


class PlainLookup(msgspec.Struct, frozen=True):
    """Every rating that was asked for: plain, of an age, and nothing is being written. Nearly all lookups."""

    listed: bytes
    """The resources in the order asked, with commas between them."""
    rated: int
    """How many they are; the other ids are unrated."""
    ages: Sequence[float]
    """Seconds since each was stored, in the order asked; a single one where all are of the same age."""
    in_full: Callable[[], SharedLookup]
    """The same, rating by rating."""


def in_full(lookup: SharedLookup | PlainLookup) -> SharedLookup:
    """What a lookup says rating by rating."""
    return lookup.in_full() if isinstance(lookup, PlainLookup) else lookup


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How long things are kept and waited for, in seconds, and how many."""

    lifetime_seconds: float
    """After this age a rating is of no use to anybody."""
    hold_seconds: float
    """How long a written value outranks what Apple reports."""
    write_seconds: float
    """A write that has not ended by then counts for nothing."""
    lookup_seconds: float
    """A lookup past it, counted from when its bytes are sent, is a miss."""
    max_ratings_per_user: int
    """Of one kind; beyond it the oldest go."""

    @property
    def key_milliseconds(self) -> int:
        """How long a hash outlives its last change: longer than anything in it, and than any fetch."""
        return round(1000 * (60 + max(self.lifetime_seconds, self.write_seconds + self.hold_seconds)))


class Shared(Protocol):
    """The tier behind every gateway's own. Nothing here raises; a caller's cancellation disturbs nobody."""

    async def lookup(self, partition: Partition, ids: Sequence[Id]) -> SharedLookup | PlainLookup:
        """What is known of `ids` (distinct), within `redis_timeout_ms` of the moment it is asked."""
        ...

    async def fill(
        self, partition: Partition, version: bytes, resources: Mapping[Id, Resource]
    ) -> bool | None:
        """Keep what Apple answered to a fetch that began after the lookup which returned `version`.

        False: refused, because a write came in between; None: Redis could not keep it.
        """
        ...

    async def begin(self, user_key: bytes, kind: Kind, id_: Id) -> bytes | None:
        """A write is about to be sent. Its stamp, for `end`; None: Redis could not be told (yet)."""
        ...

    async def end(
        self, user_key: bytes, kind: Kind, id_: Id, stamp: bytes | None, outcome: Outcome
    ) -> bool | None:
        """The write has ended. Whether its value is kept and held; None: Redis could not be told (yet)."""
        ...

    async def purge(self, user_key: bytes, kind: Kind | None, ids: Sequence[Id] | None) -> bool:
        """Drop a user's ratings: one kind or all, these ids or all; False: Redis could not be told (yet)."""
        ...

    async def publish(self, message: Invalidation) -> None:
        """Tell the other gateways; lost where Redis is away."""
        ...
