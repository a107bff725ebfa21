"""Ids that Apple refuses or fails for, so that they are asked for alone and rarely. Time is an argument.

Only the user for whom an id failed is answered from memory. Other users' calls ask for it by itself, so that
an id that many users have is not searched for in the calls of each.
"""

from collections import OrderedDict
from collections.abc import Iterable
from operator import itemgetter
from typing import Final

import msgspec

from gateway.errors import UpstreamError
from gateway.model import Id, Kind, Partition, Variant

ASKED_AGAIN: Final = 10.0
"""Seconds for which an id is answered from memory."""

SUSPECTED: Final = 60.0
"""Seconds for which a first failure is remembered: a second one means that the id fails, not Apple."""

MOST_IDS: Final = 10_000
"""Most ids of one user and type; those that failed longest ago are dropped first."""

MOST_KEYS: Final = 10_000
"""Most users and types; those without a failure for longest are dropped first."""

MOST_SHARED: Final = 10_000
"""Most ids that failed for any user, in all; those that failed longest ago are dropped first."""

ALIKE: Final = 600.0
"""Seconds for which a variant whose every part was refused alike is not divided."""


class _Entry(msgspec.Struct, frozen=True):
    failure: UpstreamError | None
    """None while the id is only suspected."""
    since: float
    """When the call began that failed first."""
    until: float


class SortedIds(msgspec.Struct):
    """How the ids of one fetch are to be asked for."""

    known: dict[Id, UpstreamError] = {}
    """Answered from memory."""
    ask_alone: list[Id] = []
    """Asked for in a call of their own each, because they failed before."""
    rest: list[Id] = []


class RefusedIds:
    """Memory of failing ids, by user and type, and of refused variants."""

    def __init__(self) -> None:
        self._ids: OrderedDict[tuple[bytes, Kind], OrderedDict[tuple[Variant, Id], _Entry]] = OrderedDict()
        self._failing: OrderedDict[tuple[Kind, Variant, Id], float] = OrderedDict()
        """When other users' calls may include the id in a batch again (monotonic seconds)."""
        self._alike: OrderedDict[tuple[bytes, Kind, Variant], float] = OrderedDict()

    def sort(self, partition: Partition, ids: Iterable[Id], now: float, *, most_alone: int) -> SortedIds:
        """Sort `ids`. At most `most_alone` are asked for alone now; further failed ids stay remembered.

        Those that were asked for longest ago come first. An id that failed only for another user is asked for
        alone, or is among the rest.
        """
        kept = self._ids.get((partition.user.key, partition.kind)) or OrderedDict()
        if not (kept or self._failing):
            return SortedIds(rest=list(ids))
        found = SortedIds()
        due: list[tuple[float, Id, UpstreamError]] = []
        for id_ in ids:
            entry = kept.get((partition.variant, id_))
            if entry is not None and entry.failure is not None:
                due.append((entry.until, id_, entry.failure))
            elif self.fails_elsewhere(partition, id_, now) and len(found.ask_alone) < most_alone:
                found.ask_alone.append(id_)
            else:
                found.rest.append(id_)
        for until, id_, failure in sorted(due, key=itemgetter(0)):
            if until <= now and len(found.ask_alone) < most_alone:
                found.ask_alone.append(id_)
            else:
                found.known[id_] = failure.recall()
        return found

    def answer(self, partition: Partition, id_: Id, now: float) -> UpstreamError | None:
        """Return the failure that answers for this id without asking Apple, or None."""
        return self.sort(partition, [id_], now, most_alone=1).known.get(id_)

    def since(self, partition: Partition, id_: Id, now: float) -> float:
        """When a call began in which this id failed before; `now` if none did."""
        kept = self._ids.get((partition.user.key, partition.kind))
        entry = None if kept is None else kept.get((partition.variant, id_))
        return now if entry is None or entry.until + SUSPECTED <= now else entry.since

    def fails_elsewhere(self, partition: Partition, id_: Id, now: float) -> bool:
        """Whether this id failed for any user lately."""
        return now < self._failing.get((partition.kind, partition.variant, id_), 0.0)

    def remember(
        self, partition: Partition, id_: Id, failure: UpstreamError, began: float, now: float
    ) -> None:
        """The failure is the id's own."""
        self._keep(partition, id_, _Entry(failure, self.since(partition, id_, began), now + ASKED_AGAIN))
        everyones = (partition.kind, partition.variant, id_)
        self._failing[everyones] = now + ASKED_AGAIN + SUSPECTED
        self._failing.move_to_end(everyones)
        if len(self._failing) > MOST_SHARED:
            self._failing.popitem(last=False)

    def suspect(self, partition: Partition, id_: Id, began: float, now: float) -> None:
        """The id failed alone; whether the id or Apple is at fault is not decided yet."""
        since = self.since(partition, id_, now)
        self._keep(partition, id_, _Entry(None, min(since, began), now))

    def forget(self, partition: Partition, ids: Iterable[Id]) -> None:
        """These ids were answered."""
        if self._failing:
            for id_ in ids:
                self._failing.pop((partition.kind, partition.variant, id_), None)
        key = (partition.user.key, partition.kind)
        kept = self._ids.get(key)
        if kept is not None:
            for id_ in ids:
                kept.pop((partition.variant, id_), None)
            if not kept:
                del self._ids[key]

    def refuse_alike(self, partition: Partition, now: float) -> None:
        """Every part of a call was refused alike: it is the request that Apple refuses."""
        self._alike[partition.key] = now + ALIKE
        self._alike.move_to_end(partition.key)
        if len(self._alike) > MOST_KEYS:
            self._alike.popitem(last=False)

    def refused_alike(self, partition: Partition, now: float) -> bool:
        return now < self._alike.get(partition.key, 0.0)

    def _keep(self, partition: Partition, id_: Id, entry: _Entry) -> None:
        key = (partition.user.key, partition.kind)
        kept = self._ids.setdefault(key, OrderedDict())
        self._ids.move_to_end(key)
        kept[partition.variant, id_] = entry
        kept.move_to_end((partition.variant, id_))
        if len(kept) > MOST_IDS:
            kept.popitem(last=False)
        if len(self._ids) > MOST_KEYS:
            self._ids.popitem(last=False)
