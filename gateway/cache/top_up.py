"""Which cached ids of a partition are worth refreshing in the free seats of a call to Apple.

Apple's budget counts calls, not ids, and most calls leave with few ids. An id that is cached and due soon
would cost a call of its own later. `due_ids` is the choice, and pure; `TopUp` makes it for a cache.
"""

from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import Final

from gateway.cache.entry import Entry, Freshness
from gateway.cache.lookup import Lookup
from gateway.cache.memory import MemoryCache
from gateway.clock import Clock
from gateway.model import Id, Partition
from gateway.riders import TOPPED_UP_IDS

DUE_SHARE: Final = 0.25
"""An id is due when this share of its freshness is left, or less."""
MAX_IDS: Final = TOPPED_UP_IDS - 1
"""Ids that one read offers: a call is made for at least one other."""
MOST_JUDGED: Final = 5000
"""Ids of a partition that one read looks at, those that were stored last: at most a millisecond."""


def is_due(entry: Entry, now: float, fresh_seconds: float) -> bool:
    """Whether an entry is due; `fresh_seconds` is the partition's jittered freshness."""
    return entry.fresh_until <= now + DUE_SHARE * fresh_seconds


def due_ids(
    memory: Lookup,
    asked: Collection[Id],
    now: float,
    *,
    freshness: Freshness,
    fresh_seconds: float,
) -> list[Id]:
    """Return the ids that are due besides those `asked`: the last stored first, those that rode lately last.

    What was stored last is the freshest, and what was fresh until now is asked for most. An id that rode
    since it was last asked for may never be asked for again: thousands of those would take all seats, and
    have expired again when the last had its turn.

    An id is due until its entry is of no use even if Apple fails. `fresh_seconds` is the partition's jittered
    freshness.
    """
    earliest = now - freshness.stale_seconds
    # Ids share entries: their few distinct ones are judged first.
    due_entries = {
        entry
        for entry in set(islice(reversed(memory.entries.values()), MOST_JUDGED))
        if earliest < entry.fresh_until and is_due(entry, now, fresh_seconds)
    }
    if not due_entries:
        return []
    found: list[Id] = []
    ridden: list[Id] = []
    rode = memory.rides.ids
    for id_, entry in islice(reversed(memory.entries.items()), MOST_JUDGED):
        if entry not in due_entries or id_ in asked:
            continue
        if id_ in rode:
            ridden.append(id_)
            continue
        found.append(id_)
        if len(found) == MAX_IDS:
            return found
    again = (id_ for id_ in ridden if memory.rides.may_ride(id_, now))
    return [*found, *islice(again, MAX_IDS - len(found))]


class TopUp:
    """Chooses cached ids that ride along, and notes in memory which rode, failed or were asked for since.

    If it is not `enabled`, none ride along.
    """

    def __init__(self, memory: MemoryCache, freshness: Freshness, clock: Clock, *, enabled: bool) -> None:
        self._memory = memory
        self._freshness = freshness
        self._clock = clock
        self._enabled = enabled

    def due(self, partition: Partition, memory: Lookup, asked: Sequence[Id], now: float) -> Sequence[Id]:
        """Return cached ids to refresh along with `asked`; `memory` is the lookup just made there."""
        if not self._enabled or not memory.entries:
            return ()
        fresh_seconds = self._fresh_seconds(partition)
        return due_ids(memory, set(asked), now, freshness=self._freshness, fresh_seconds=fresh_seconds)

    def still_due(self, partition: Partition, ids: Sequence[Id], shared: Lookup, now: float) -> Sequence[Id]:
        """Return those of `ids` that Redis has no fresher rating of: another gateway may have fetched one."""
        if not ids or shared.shared_version is None:
            # If Redis did not answer, nothing of them could be stored.
            return ()
        fresh_seconds, entries = self._fresh_seconds(partition), shared.entries
        return [
            id_ for id_ in ids if (entry := entries.get(id_)) is None or is_due(entry, now, fresh_seconds)
        ]

    def stored(self, partition: Partition, ids: Iterable[Id], now: float, *, ridden: bool) -> None:
        """The ids were fetched and stored in memory; `ridden`: no request asked for them."""
        rides = self._memory.partition(partition, now).rides
        if ridden:
            rides.rode(ids, now)
        elif rides:
            rides.answered(ids)

    def failed(self, partition: Partition, ids: Collection[Id]) -> None:
        """A call failed that carried these ids for a refresh: they do not ride again until asked for."""
        self._memory.partition(partition, self._clock.monotonic()).rides.failed(ids)

    def _fresh_seconds(self, partition: Partition) -> float:
        return self._freshness.fresh_seconds_of(partition.user.key, partition.kind)
