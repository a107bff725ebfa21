"""Writes and purges that Redis could not be told of, kept until it can. Pure; bounded."""

from collections import OrderedDict
from collections.abc import Mapping

import msgspec

from gateway.model import Id, Kind

MAX_PARTITIONS = 10_000
MAX_IDS = 50_000
MAX_TOLD = 10_000
"""Ids whose late stamp is remembered; it matters for no longer than a hold."""

Place = tuple[bytes, Kind]
"""A user key and a kind."""


class Undelivered(msgspec.Struct, frozen=True):
    """What Redis has not heard of one user and kind."""

    ids: dict[Id, int] = {}
    """By id: how many writers that Redis may take to be under way have ended."""
    all: bool = False
    """More than the ids named: nothing that Redis has of the place is to be believed."""


class RetryQueue:
    """What is untold, by place. An entry is replaced, never changed: one told is known by its identity."""

    def __init__(self, *, max_shelves: int = MAX_PARTITIONS, max_ids: int = MAX_IDS) -> None:
        self._max_shelves = max_shelves
        self._max_ids = max_ids
        self._untold: dict[Place, Undelivered] = {}
        self._ids = 0
        self._open: dict[tuple[Place, Id], int] = {}
        self._late: dict[tuple[Place, Id], bytes] = {}
        self._told: OrderedDict[tuple[Place, Id], bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._untold)

    def entries(self) -> list[tuple[Place, Undelivered]]:
        """What there is to tell, oldest first."""
        return list(self._untold.items())

    def get(self, place: Place) -> Undelivered | None:
        """What is untold of one place."""
        return self._untold.get(place)

    def add(self, place: Place, id_: Id, *, ended: int = 0) -> bool:
        """Keep that Redis missed a write of `id_`; False where not even its place found room."""
        before = self._untold.get(place, Undelivered())
        if before.all or self._ids >= self._max_ids:
            return self.add_all(place)
        return self._put(place, Undelivered({**before.ids, id_: before.ids.get(id_, 0) + ended}))

    def add_all(self, place: Place) -> bool:
        """Keep that nothing Redis has of `place` is to be believed; False where there is no room."""
        return self._put(place, Undelivered(all=True))

    def drop(self, place: Place, id_: Id) -> None:
        """Redis heard of a write of `id_`, which says all that is kept here but that others have ended."""
        before = self._untold.get(place)
        if before is not None and before.ids.get(id_) == 0:
            self._put(
                place, Undelivered({other: ended for other, ended in before.ids.items() if other != id_})
            )

    def told(self, place: Place, entry: Undelivered, stamp: bytes) -> None:
        """Redis has heard of `entry` under `stamp`; what was added meanwhile stays."""
        for id_ in entry.ids:
            self._told[place, id_] = stamp
            self._told.move_to_end((place, id_))
            if self._open.get((place, id_)) == 1:
                self._late[place, id_] = stamp
        if self._untold.get(place) is entry:
            self._put(place, Undelivered())
        while len(self._told) > MAX_TOLD:
            self._told.popitem(last=False)

    def told_late(self, place: Place, marks: Mapping[Id, object]) -> frozenset[Id]:
        """Which of these marks are stamps under which Redis heard late from here, and of nobody since."""
        return frozenset(id_ for id_, stamp in marks.items() if self._told.get((place, id_)) == stamp)

    def postpone(self, place: Place) -> None:
        """It could not be told now: others first."""
        if place in self._untold:
            self._untold[place] = self._untold.pop(place)

    def began_untold(self, place: Place, id_: Id) -> None:
        """A write begins of which Redis does not know."""
        self._open[place, id_] = self._open.get((place, id_), 0) + 1

    def late_stamp(self, place: Place, id_: Id) -> bytes | None:
        """The stamp for the end of such a write where Redis has heard of it meanwhile, and it was alone."""
        left = self._open.pop((place, id_), 1) - 1
        stamp = self._late.pop((place, id_), None)
        if left:
            self._open[place, id_] = left
            return None
        return stamp

    def _put(self, place: Place, entry: Undelivered) -> bool:
        before = self._untold.get(place)
        if before is None and len(self._untold) >= self._max_shelves:
            return False
        self._ids += len(entry.ids) - (len(before.ids) if before else 0)
        if entry.all or entry.ids:
            self._untold[place] = entry
        else:
            self._untold.pop(place, None)
        return True
