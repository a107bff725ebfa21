"""The common read: one tier has a fresh entry of every id. Decided on the few distinct entries."""

from collections.abc import Mapping, Sequence
from math import inf

import msgspec

from gateway.cache.entry import Entry
from gateway.model import Id


class Complete(msgspec.Struct, frozen=True, gc=False):
    """The fresh entries of all ids, in the order asked. Times are monotonic seconds."""

    entries: Sequence[Entry]
    negative: int
    """How many of the ids are unrated."""
    oldest: float
    """When Apple reported the oldest entry."""
    soonest: float
    """When the first entry ends being fresh."""


def complete(
    ids: Sequence[Id], known: Mapping[Id, Entry], now: float, trusted_since: float
) -> Complete | None:
    """Return the entries of `ids` from `known`; None if one is missing, stale, or last trusted too early."""
    found = [*map(known.get, ids)]
    negative, oldest, soonest = 0, inf, inf
    for entry in set(found):
        if entry is None or entry.fresh_until <= now or entry.trusted_at < trusted_since:
            return None
        if entry.rating is None:
            negative += found.count(entry)
        oldest = min(oldest, entry.fetched_at)
        soonest = min(soonest, entry.fresh_until)
    return Complete(found, negative, oldest, soonest)  # type: ignore[arg-type]  # none is None
