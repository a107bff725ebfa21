"""The in-process tier: entries by user, type, variant and id, bounded by their number and by their bytes.

Users are kept in order of use. Room is made by dropping whole users, the one that was away longest first:
one missing id costs a round trip to Redis just as twenty-five do.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import islice
from typing import Final

from gateway.cache.entry import Entry, all_expired
from gateway.cache.rides import Rides
from gateway.model import LONGEST_VARIANT, MAX_VARIANTS, PLAIN, Id, Partition, UserKind, Variant

USER_BYTES: Final = 900
"""Measured size of one user and type without its entries."""
VARIANT_BYTES: Final = 300
"""The same for a variant, without its name."""


class PartitionRatings:
    """The entries of one partition, and which of them rode along since they were last asked for."""

    __slots__ = ("entries", "rides", "used_at")

    def __init__(self, used_at: float) -> None:
        self.entries: dict[Id, Entry] = {}
        self.rides = Rides()
        self.used_at = used_at


class _UserRatings:
    """The variants of one user and type."""

    __slots__ = ("bytes", "expired", "variants")

    def __init__(self) -> None:
        self.expired = False
        """Whether `expire` was called, and nothing was stored since."""
        self.variants: dict[Variant, PartitionRatings] = {}
        self.bytes = USER_BYTES

    def __len__(self) -> int:
        return sum(len(ratings.entries) for ratings in self.variants.values())


class MemoryCache:
    """Entries of this process. Entries do not expire here: readers judge them by their times.

    With `max_entries` 0 this tier is off (`enabled`). `fresh_seconds` is how long a variant must have been
    unused before another may take its place. `on_evict` receives the number of entries that were dropped to
    make room.
    """

    def __init__(
        self, *, max_entries: int, max_bytes: int, fresh_seconds: float, on_evict: Callable[[int], None]
    ) -> None:
        self.enabled = max_entries > 0
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._fresh_seconds = fresh_seconds
        self._users: OrderedDict[UserKind, _UserRatings] = OrderedDict()
        self._on_evict = on_evict
        self.entries = 0
        self.bytes = 0

    def __len__(self) -> int:
        """Users and types that have entries."""
        return len(self._users)

    def partition(self, partition: Partition, now: float) -> PartitionRatings:
        """Return what is cached of `partition`, and count this as a use of it at `now`.

        It is live: read it before the next await.
        """
        key = (partition.user.key, partition.kind)
        user = self._users.get(key)
        if user is None:
            return PartitionRatings(now)
        self._users.move_to_end(key)
        ratings = user.variants.get(partition.variant)
        if ratings is None:
            return PartitionRatings(now)
        ratings.used_at = now
        return ratings

    def variants(self, user_kind: UserKind, id_: Id) -> list[Variant]:
        """Return the variants that have an entry of `id_`, the plain one included. This counts as no use."""
        user = self._users.get(user_kind)
        if user is None:
            return []
        return [variant for variant, ratings in user.variants.items() if id_ in ratings.entries]

    def admits(self, partition: Partition, now: float) -> bool:
        """Whether the variant is cached, or would take a place that is free or long unused."""
        if partition.variant == PLAIN:
            return True
        if len(partition.variant) > LONGEST_VARIANT:
            return False
        user = self._users.get(partition.user_kind)
        if user is None or partition.variant in user.variants:
            return True
        return (
            len(user.variants) - (PLAIN in user.variants) < MAX_VARIANTS
            or self._unused(user, now) is not None
        )

    def put(self, partition: Partition, entries: Mapping[Id, Entry], now: float) -> None:
        """Store `entries`, replacing older ones, and make room for them."""
        if not self.enabled or not entries or not self.admits(partition, now):
            return
        key = partition.user_kind
        user = self._users.get(key)
        if user is None:
            user = self._users[key] = _UserRatings()
            self.bytes += USER_BYTES
        self._users.move_to_end(key)
        kept = self._variant(user, partition.variant, now).entries
        if not kept.keys().isdisjoint(entries):
            self._remove(user, kept, entries)
        kept.update(entries)
        user.expired = False
        self._count(user, len(entries), sum([entry.bytes_per_id for entry in entries.values()]))
        self._make_room()

    def drop(self, user_kind: UserKind, ids: Collection[Id] | None = None) -> None:
        """Drop `ids` in every variant; everything of the type if none are named."""
        user = self._users.get(user_kind)
        if user is None:
            return
        if ids is None:
            self._drop_user(user_kind)
            return
        for variant, ratings in list(user.variants.items()):
            ratings.rides.drop(ids)
            self._remove(user, ratings.entries, ids)
            if not ratings.entries:
                self._drop_variant(user, variant)
        if not user.variants:
            self._drop_user(user_kind)

    def expire(self, user_kind: UserKind, now: float) -> None:
        """Make every entry of one type stale, because the paired type was written.

        Nothing is left to do until the next `put`: a user may write thousands of ids in a row.
        """
        user = self._users.get(user_kind)
        if user is None or user.expired:
            return
        for ratings in user.variants.values():
            ratings.entries.update(all_expired(ratings.entries, now))
        user.expired = True

    def _variant(self, user: _UserRatings, variant: Variant, now: float) -> PartitionRatings:
        ratings = user.variants.get(variant)
        if ratings is None:
            if variant != PLAIN and len(user.variants) - (PLAIN in user.variants) >= MAX_VARIANTS:
                unused = self._unused(user, now)
                assert unused is not None
                self._drop_variant(user, unused)
            ratings = user.variants[variant] = PartitionRatings(now)
            self._count(user, 0, VARIANT_BYTES + len(variant))
        return ratings

    def _unused(self, user: _UserRatings, now: float) -> Variant | None:
        """The variant that was unused longest, if that is long enough to give up its place."""
        used = {variant: ratings.used_at for variant, ratings in user.variants.items() if variant != PLAIN}
        oldest = min(used, key=used.__getitem__)
        return oldest if now - used[oldest] >= self._fresh_seconds else None

    def _make_room(self) -> None:
        while self.entries > self._max_entries or self.bytes > self._max_bytes:
            if len(self._users) > 1:
                oldest = next(iter(self._users))
                self._on_evict(len(self._users[oldest]))
                self._drop_user(oldest)
            elif not self._trim(next(iter(self._users.values()))):
                return

    def _trim(self, user: _UserRatings) -> bool:
        """Drop the oldest entries of the only user: a sixteenth at a time, so that not every put does it."""
        largest = max(user.variants.values(), key=lambda ratings: len(ratings.entries), default=None)
        if largest is None or not (kept := largest.entries):
            return False
        excess = max(self.entries - self._max_entries, len(kept) // 16, 1)
        oldest = list(islice(kept, excess))
        self._on_evict(len(oldest))
        largest.rides.drop(oldest)
        self._remove(user, kept, oldest)
        return True

    def _remove(self, user: _UserRatings, kept: dict[Id, Entry], ids: Iterable[Id]) -> None:
        removed = [entry for id_ in ids if (entry := kept.pop(id_, None)) is not None]
        self._count(user, -len(removed), -sum([entry.bytes_per_id for entry in removed]))

    def _count(self, user: _UserRatings, entries: int, size: int) -> None:
        self.entries += entries
        self.bytes += size
        user.bytes += size

    def _drop_variant(self, user: _UserRatings, variant: Variant) -> None:
        ratings = user.variants.pop(variant)
        size = sum([entry.bytes_per_id for entry in ratings.entries.values()])
        self._count(user, -len(ratings.entries), -size - VARIANT_BYTES - len(variant))

    def _drop_user(self, key: UserKind) -> None:
        user = self._users.pop(key)
        self.entries -= len(user)
        self.bytes -= user.bytes
