"""Which cached ids of a partition are worth refreshing in the free seats of a call to Apple. Pure.

Apple's budget counts calls, not ids, and most calls leave with few ids. An id that is cached and due soon
would cost a call of its own later.
"""

from collections.abc import Collection
from itertools import islice
from typing import Final

from gateway.cache.entry import Entry, Freshness
from gateway.cache.lookup import Lookup
from gateway.model import Id
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


def due(
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
