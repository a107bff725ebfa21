"""Writes and purges that Redis missed, kept until they can be replayed. Pure; bounded."""

from collections import OrderedDict
from collections.abc import Mapping

import msgspec

from gateway.model import Id, Kind

MAX_PARTITIONS = 10_000
MAX_IDS = 50_000
MAX_DELIVERED = 10_000
"""Replayed ids whose stamp is remembered; it matters for no longer than a hold."""

Place = tuple[bytes, Kind]
"""A user key and a rating type."""


class Undelivered(msgspec.Struct, frozen=True):
    """What Redis missed of one user and type."""

    ids: dict[Id, int] = {}
    """By id: how many writes have ended that Redis may still count as under way."""
    all: bool = False
    """Everything, not only the ids named: nothing that Redis has of this user and type is trusted."""


class RetryQueue:
    """Undelivered writes by user and type. Entries are replaced, never changed: `is` compares them."""

    def __init__(self, *, max_partitions: int = MAX_PARTITIONS, max_ids: int = MAX_IDS) -> None:
        self._max_partitions = max_partitions
        self._max_ids = max_ids
        self._undelivered: dict[Place, Undelivered] = {}
        self._ids = 0
        self._open: dict[tuple[Place, Id], int] = {}
        self._late: dict[tuple[Place, Id], bytes] = {}
        self._delivered: OrderedDict[tuple[Place, Id], bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._undelivered)

    def entries(self) -> list[tuple[Place, Undelivered]]:
        """What is to be replayed, oldest first."""
        return list(self._undelivered.items())

    def get(self, place: Place) -> Undelivered | None:
        """What is undelivered of one user and type."""
        return self._undelivered.get(place)

    def add(self, place: Place, id_: Id, *, ended: int = 0) -> bool:
        """Keep a missed write of `id_`. False if there is no room even for its user and type."""
        before = self._undelivered.get(place, Undelivered())
        if before.all or self._ids >= self._max_ids:
            return self.add_all(place)
        return self._put(place, Undelivered({**before.ids, id_: before.ids.get(id_, 0) + ended}))

    def add_all(self, place: Place) -> bool:
        """Keep that nothing Redis has of `place` is trusted. False if there is no room."""
        return self._put(place, Undelivered(all=True))

    def drop(self, place: Place, id_: Id) -> None:
        """A later write of `id_` was delivered: drop the earlier one unless writes have ended since."""
        before = self._undelivered.get(place)
        if before is not None and before.ids.get(id_) == 0:
            self._put(
                place, Undelivered({other: ended for other, ended in before.ids.items() if other != id_})
            )

    def delivered(self, place: Place, entry: Undelivered, stamp: bytes) -> None:
        """Redis took `entry` under `stamp`. What was added meanwhile stays."""
        for id_ in entry.ids:
            self._delivered[place, id_] = stamp
            self._delivered.move_to_end((place, id_))
            if self._open.get((place, id_)) == 1:
                self._late[place, id_] = stamp
        if self._undelivered.get(place) is entry:
            self._put(place, Undelivered())
        while len(self._delivered) > MAX_DELIVERED:
            self._delivered.popitem(last=False)

    def delivered_late(self, place: Place, pending: Mapping[Id, object]) -> frozenset[Id]:
        """The ids whose pending marker came from a replay of this gateway, with no other write since."""
        return frozenset(id_ for id_, stamp in pending.items() if self._delivered.get((place, id_)) == stamp)

    def postpone(self, place: Place) -> None:
        """Move `place` to the end: it could not be delivered now."""
        if place in self._undelivered:
            self._undelivered[place] = self._undelivered.pop(place)

    def begin_undelivered(self, place: Place, id_: Id) -> None:
        """A write begins that Redis missed the begin of."""
        self._open[place, id_] = self._open.get((place, id_), 0) + 1

    def late_stamp(self, place: Place, id_: Id) -> bytes | None:
        """The stamp that ends such a write, if its begin was replayed meanwhile and no other overlapped."""
        left = self._open.pop((place, id_), 1) - 1
        stamp = self._late.pop((place, id_), None)
        if left:
            self._open[place, id_] = left
            return None
        return stamp

    def _put(self, place: Place, entry: Undelivered) -> bool:
        before = self._undelivered.get(place)
        if before is None and len(self._undelivered) >= self._max_partitions:
            return False
        self._ids += len(entry.ids) - (len(before.ids) if before else 0)
        if entry.all or entry.ids:
            self._undelivered[place] = entry
        else:
            self._undelivered.pop(place, None)
        return True
