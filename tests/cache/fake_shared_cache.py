"""A shared tier that answers as a test says."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from gateway.cache.lookup import Lookup
from gateway.cache.shared_cache import SharedCache
from gateway.cache.write_rule import Outcome
from gateway.model import Id, Kind, Partition, Rating, UserKind


class FakeSharedCache(SharedCache):
    """Answers every lookup with `found`, after `before_answer`; records what it should store."""

    def __init__(self) -> None:
        self.found = Lookup(shared_version=b"1")
        self.before_answer: Callable[[], None] = lambda: None
        self.filled: list[tuple[bytes, dict[Id, Rating]]] = []
        """Version and ratings of each fill."""
        self.stores: bool | None = True
        """The answer to a fill."""
        self.before_fill: Callable[[], None] = lambda: None
        self.stamp: bytes | None = b"1"
        """The answer to the begin of a write."""
        self.alone: bool | None = True
        """The answer to the end of a write."""
        self.ended: list[tuple[Id, bytes | None, Outcome]] = []
        self.purged: list[tuple[bytes, Kind | None, Sequence[Id] | None]] = []
        self.before_purge: Callable[[], Awaitable[None]] = _nothing
        self.delivers = True
        """The answer to a purge."""

    async def lookup(self, partition: Partition, ids: Sequence[Id], now: float) -> Lookup:
        del partition, ids, now
        self.before_answer()
        return self.found

    async def fill(self, partition: Partition, version: bytes, ratings: Mapping[Id, Rating]) -> bool | None:
        del partition
        self.filled.append((version, dict(ratings)))
        self.before_fill()
        return self.stores

    async def begin(self, user_kind: UserKind, id_: Id, write_seconds: float) -> bytes | None:
        del user_kind, id_, write_seconds
        return self.stamp

    async def end(self, user_kind: UserKind, id_: Id, stamp: bytes | None, outcome: Outcome) -> bool | None:
        del user_kind
        self.ended.append((id_, stamp, outcome))
        return self.alone

    async def purge(self, user_key: bytes, kind: Kind | None, ids: Sequence[Id] | None) -> bool:
        await self.before_purge()
        self.purged.append((user_key, kind, ids))
        return self.delivers


async def _nothing() -> None:
    pass
