"""What a caller asks for, and what it gets: the values between the web and the use cases."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from operator import itemgetter

import msgspec

from gateway.cache.entry import Entry
from gateway.errors import GatewayError
from gateway.model import PLAIN, Id, Kind, Partition, User, Variant


class Directives(msgspec.Struct, frozen=True):
    """A request's `Cache-Control`, applied to each id. Times in seconds; `max_stale` may be infinite."""

    no_cache: bool = False
    no_store: bool = False
    only_if_cached: bool = False
    max_age: float | None = None
    max_stale: float | None = None


NO_DIRECTIVES = Directives()


class Part(msgspec.Struct, frozen=True):
    """Distinct ids of one kind, in the order asked."""

    kind: Kind
    ids: tuple[Id, ...]
    pick: Callable[[Mapping[Id, Entry]], tuple[Entry, ...]]
    """The entries of all ids; raises KeyError where one is missing. Far faster than asking one by one."""

    @classmethod
    def of(cls, kind: Kind, ids: tuple[Id, ...]) -> "Part":
        if len(ids) == 1:
            (only,) = ids
            return cls(kind, ids, lambda entries: (entries[only],))
        return cls(kind, ids, itemgetter(*ids))


class Query(msgspec.Struct, frozen=True):
    """A read: whose ratings, of which ids, in which variant, and how the answer may be come by."""

    user: User
    parts: tuple[Part, ...]
    variant: Variant = PLAIN
    directives: Directives = NO_DIRECTIVES
    lenient: bool = False
    """Answer with what is known, and with an error per id that cannot be had."""
    deadline: float = float("inf")
    """When the caller stops waiting: monotonic seconds."""

    def partition(self, part: Part) -> Partition:
        return Partition(self.user, part.kind, self.variant)


class CacheOutcome(StrEnum):
    """Why ids went on to Apple: the `fwd` of `Cache-Status`; HIT where none did."""

    HIT = "hit"
    MISS = "miss"
    PARTIAL = "partial"
    REQUEST = "request"
    STALE = "stale"
    BYPASS = "bypass"
    METHOD = "method"


class TierCounts(msgspec.Struct):
    """Where the distinct ids of one answer came from."""

    local: int = 0
    shared: int = 0
    upstream: int = 0
    stale: int = 0
    """Those of `local` and `shared` that were stale."""
    collapsed: int = 0
    """Those of `upstream` that another request's fetch brought."""
    calls: int = 0
    """Calls to Apple that were begun for this request."""

    def add(self, other: "TierCounts") -> None:
        self.local += other.local
        self.shared += other.shared
        self.upstream += other.upstream
        self.stale += other.stale
        self.collapsed += other.collapsed
        self.calls += other.calls


class Failure(msgspec.Struct, frozen=True):
    """An id that cannot be had, and why."""

    kind: Kind
    id: Id
    error: GatewayError


class Answer(msgspec.Struct, frozen=True):
    """The ratings found, in the order asked, and how they were come by."""

    listed: bytes
    """The resources as JSON, with commas between them."""
    tally: TierCounts
    forward: CacheOutcome
    age: float = 0.0
    """Seconds since Apple said the oldest of them; 0 where all were fetched."""
    ttl: float = 0.0
    """Least remaining freshness in seconds; below 0: stale, being refreshed."""
    stored: bool = False
    failures: tuple[Failure, ...] = ()
    upstream_status: int | None = None
    """What Apple answered, where stale ratings stand in for its failure."""
