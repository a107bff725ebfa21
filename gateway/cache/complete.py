"""The common read: one tier has a fresh entry of every id. Decided on the few distinct entries."""

from collections.abc import Collection, Mapping, Sequence
from math import inf

import msgspec

from gateway.cache.entry import Entry
from gateway.model import Id


class Complete(msgspec.Struct, frozen=True, gc=False):
    """The fresh entries of all ids, in the order asked. Times are monotonic seconds."""

    ids: Sequence[Id]
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
    entries = [*map(known.get, ids)]
    return if_fresh(ids, entries, set(entries), now, trusted_since)


def if_fresh(
    ids: Sequence[Id],
    entries: Sequence[Entry | None],
    distinct: Collection[Entry | None],
    now: float,
    trusted_since: float = -inf,
) -> Complete | None:
    """Return `entries`, one for each id, of which `distinct` are the different ones; None as `complete`."""
    negative, oldest, soonest = 0, inf, inf
    for entry in distinct:
        # Comparisons, because a call of `min` takes as long as the rest of this loop.
        if entry is None or entry.fresh_until <= now or entry.trusted_at < trusted_since:
            return None
        if entry.rating is None:
            negative += entries.count(entry)
        if entry.fetched_at < oldest:  # noqa: PLR1730
            oldest = entry.fetched_at
        if entry.fresh_until < soonest:  # noqa: PLR1730
            soonest = entry.fresh_until
    return Complete(ids, entries, negative, oldest, soonest)  # type: ignore[arg-type]  # none is None
