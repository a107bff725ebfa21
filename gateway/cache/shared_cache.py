"""What the cache needs of the tier that all gateways share."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from gateway.cache.lookup import Lookup
from gateway.cache.write_rule import Outcome
from gateway.model import Id, Kind, Partition, Rating, UserKind


class SharedCache(Protocol):
    """The tier that all gateways share. No method raises; cancelling a caller affects no other."""

    async def lookup(self, partition: Partition, ids: Sequence[Id], now: float) -> Lookup:
        """Look up `ids` (distinct) as of `now`; all are misses after `cache.redis_timeout_ms`."""
        ...

    async def fill(self, partition: Partition, version: bytes, ratings: Mapping[Id, Rating]) -> bool | None:
        """Store what a fetch returned that began after the lookup which returned `version`.

        False: refused, because a write came in between. None: Redis could not store it.
        """
        ...

    async def begin(self, user_kind: UserKind, id_: Id, write_seconds: float) -> bytes | None:
        """Record that a write is about to be sent; return its stamp. None: not delivered (yet).

        A write that has not ended after `write_seconds` counts for nothing: its gateway may have died.
        """
        ...

    async def end(self, user_kind: UserKind, id_: Id, stamp: bytes | None, outcome: Outcome) -> bool | None:
        """Record that the write has ended; return whether its rating is held. None: not delivered (yet)."""
        ...

    async def purge(self, user_key: bytes, kind: Kind | None, ids: Sequence[Id] | None) -> bool:
        """Drop a user's ratings: one type or all, these ids or all. False: not delivered (yet)."""
        ...
