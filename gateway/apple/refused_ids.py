"""Ids that Apple refuses or fails for, so that they are asked for alone and rarely. Time is an argument.

Only the user for whom an id failed is answered from memory. Other users' calls ask for it by itself, so that
an id that many users have is not searched for in the calls of each.
"""

from collections import OrderedDict
from collections.abc import Iterable
from operator import itemgetter
from typing import Final, TypeVar

import msgspec

from gateway.errors import UpstreamError
from gateway.model import Id, Kind, Partition, Variant

K = TypeVar("K")
V = TypeVar("V")

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
"""Seconds for which a refused call is not divided after one whose every part was refused alike, and for which
an answer to the variant shows that refusals are the ids' fault."""


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
        self._alike: OrderedDict[tuple[bytes, Kind, Variant], tuple[bool, float]] = OrderedDict()
        """Whether a call with the variant was last refused alike, or answered, and until when that holds."""

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
        _keep_latest(self._failing, everyones, now + ASKED_AGAIN + SUSPECTED, MOST_SHARED)

    def suspect(self, partition: Partition, id_: Id, began: float, now: float) -> None:
        """The id failed alone; whether the id or Apple is at fault is not decided yet."""
        since = self.since(partition, id_, now)
        self._keep(partition, id_, _Entry(None, min(since, began), now))

    def answered(self, partition: Partition, ids: Iterable[Id], now: float) -> None:
        """These ids were answered: neither they nor the variant are at fault."""
        _keep_latest(self._alike, partition.key, (False, now + ALIKE), MOST_KEYS)
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

    def refuse_alike(self, partition: Partition, now: float) -> bool:
        """Every part of a call was refused alike. Return whether it is the request that Apple refuses."""
        alike, until = self._alike.get(partition.key, (True, now))
        if not alike and now < until:
            return False
        _keep_latest(self._alike, partition.key, (True, now + ALIKE), MOST_KEYS)
        return True

    def refused_alike(self, partition: Partition, now: float) -> bool:
        """Whether a refused call with this variant is not to be divided."""
        alike, until = self._alike.get(partition.key, (False, now))
        return alike and now < until

    def _keep(self, partition: Partition, id_: Id, entry: _Entry) -> None:
        key = (partition.user.key, partition.kind)
        kept = self._ids.get(key, OrderedDict())
        _keep_latest(kept, (partition.variant, id_), entry, MOST_IDS)
        _keep_latest(self._ids, key, kept, MOST_KEYS)


def _keep_latest(kept: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    """Set the value of `key`, and drop the one that was set longest ago if there are more than `most`."""
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > most:
        kept.popitem(last=False)
