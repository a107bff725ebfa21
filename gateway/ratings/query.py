"""Queries and answers: the values between the web and the use cases."""

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from gateway.errors import GatewayError
from gateway.model import PLAIN, Id, Kind, Partition, User, Variant


class Directives(msgspec.Struct, frozen=True):
    """A request's `Cache-Control`, applied to each id. Times in seconds; `max_stale` may be infinite."""

    no_cache: bool = False
    no_store: bool = False
    only_if_cached: bool = False
    max_age: float | None = None
    max_stale: float | None = None

    @property
    def refreshes(self) -> bool:
        """Whether what is served stale may be refreshed behind the answer, which calls Apple and stores."""
        return not (self.only_if_cached or self.no_store)


NO_DIRECTIVES = Directives()


class Part(msgspec.Struct, frozen=True):
    """Distinct ids of one type, in the order asked."""

    kind: Kind
    ids: Sequence[Id]


class Query(msgspec.Struct, frozen=True):
    """A read: the user, the ids by type, the variant, and how it may be answered."""

    user: User
    parts: tuple[Part, ...]
    variant: Variant = PLAIN
    directives: Directives = NO_DIRECTIVES
    lenient: bool = False
    """Answer with the ratings found, and with an error for each id that failed."""
    deadline: float = float("inf")
    """When the caller stops waiting: monotonic seconds."""

    @property
    def size(self) -> int:
        """How many ids are asked for."""
        return sum([len(part.ids) for part in self.parts])

    def partition(self, part: Part) -> Partition:
        return Partition(self.user, part.kind, self.variant)


class CacheOutcome(StrEnum):
    """Why ids were requested from Apple: the `fwd` of `Cache-Status`; HIT if none were."""

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
    """Those of `upstream` that another request was already fetching."""
    calls: int = 0
    """Tries of calls to Apple that were sent for this request."""

    def add(self, other: "TierCounts") -> None:
        self.local += other.local
        self.shared += other.shared
        self.upstream += other.upstream
        self.stale += other.stale
        self.collapsed += other.collapsed
        self.calls += other.calls


class Failure(msgspec.Struct, frozen=True):
    """An id that failed, and why."""

    kind: Kind
    id: Id
    error: GatewayError


class Answer(msgspec.Struct, frozen=True):
    """The ratings found, in the order asked, and where they came from."""

    resources: bytes
    """The resources as JSON, with commas between them."""
    counts: TierCounts
    outcome: CacheOutcome
    age: float = 0.0
    """Seconds since Apple reported the oldest of them; 0 if all were fetched."""
    ttl: float = 0.0
    """Least remaining freshness in seconds; below 0: stale, being refreshed."""
    stored: bool = False
    failures: tuple[Failure, ...] = ()
    upstream_status: int | None = None
    """The status of Apple's error, if stale ratings are served instead."""
