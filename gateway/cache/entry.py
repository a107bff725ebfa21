"""What the in-process tier keeps of one id, and how usable it is: a pure function of entry, now and policy.

fetched_at          fresh_until                                     fresh_until + stale_if_error
    │── FRESH ───────────│── REVALIDATE ──│── IF_ERROR ─────────────────│── GONE
                                          └ fresh_until + stale_while_revalidate
"""

from collections.abc import Sequence
from enum import IntEnum
from functools import lru_cache
from math import inf
from typing import Final
from zlib import crc32

import msgspec

from gateway.model import Id, Resource

MEMOISED_IDS: Final = 100
"""What is made of longer lists is made anew each time, so that the memos stay small."""


class Usability(IntEnum):
    """What may be done with an entry; the smaller, the better."""

    FRESH = 0
    """Served as a hit."""
    REVALIDATE = 1
    """Served at once and refreshed behind the answer."""
    IF_ERROR = 2
    """Served only where Apple fails."""
    GONE = 3


class Entry(msgspec.Struct, frozen=True, gc=False):
    """What is known of one id. Times are monotonic seconds of this process."""

    resource: Resource
    fetched_at: float
    """When Apple said it, whichever gateway asked."""
    known_at: float
    """When nobody was known to have written since: what is from before news was lost is not believed."""
    fresh_until: float
    ask_when_stale: bool = False
    """Once stale, Apple must be asked first: a write on the paired kind may have changed it."""


class Freshness(msgspec.Struct, frozen=True):
    """How long entries are usable; seconds, except `jitter` (a fraction of `fresh_seconds`)."""

    fresh_seconds: float
    stale_while_revalidate_seconds: float
    stale_if_error_seconds: float
    jitter: float

    @property
    def lifetime_seconds(self) -> float:
        """After this age an entry is of no use to anybody."""
        return self.fresh_seconds + max(self.stale_while_revalidate_seconds, self.stale_if_error_seconds)

    @property
    def shortest_seconds(self) -> float:
        """What is younger is fresh, whatever its id."""
        return self.fresh_seconds * (1 - self.jitter)

    def left_seconds(self, id_: Id, age: float) -> float:
        """How long an entry of that age is fresh yet; below 0: for how long it is not."""
        return self.fresh_seconds * (1 - self.jitter * _share(id_)) - age

    def first_to_go(self, ids: Sequence[Id], ages: Sequence[float]) -> float:
        """How long all of them are fresh yet; `ages` in the same order, or the one age of them all."""
        if len(ages) > 1:
            return min(map(self.left_seconds, ids, ages))
        share = _greatest_share(tuple(ids)) if len(ids) <= MEMOISED_IDS else max(map(_share, ids))
        return self.fresh_seconds * (1 - self.jitter * share) - ages[0]

    def entry(
        self,
        id_: Id,
        resource: Resource,
        now: float,
        *,
        age: float = 0.0,
        known_at: float | None = None,
        cap: float | None = None,
        held_seconds: float = -inf,
    ) -> Entry:
        """Make an entry that comes into the process at `now`; whether to believe it was asked at `known_at`.

        `cap` bounds how long from now it may be served without asking Apple; `held_seconds` is how long
        from now a write outranks Apple, which no shorter freshness may cut.
        """
        known_at = now if known_at is None else known_at
        fresh_until = now + max(self.left_seconds(id_, age), held_seconds)
        if cap is None or now + cap >= fresh_until + self.stale_while_revalidate_seconds:
            return Entry(resource, now - age, known_at, fresh_until)
        return Entry(resource, now - age, known_at, min(fresh_until, now + cap), ask_when_stale=True)

    def usability(self, entry: Entry, now: float, trusted_since: float) -> Usability:
        """Judge `entry`; one known before `trusted_since` serves only where Apple fails."""
        if now >= entry.fresh_until + max(self.stale_while_revalidate_seconds, self.stale_if_error_seconds):
            return Usability.GONE
        if entry.known_at >= trusted_since:
            if now < entry.fresh_until:
                return Usability.FRESH
            if not entry.ask_when_stale and now < entry.fresh_until + self.stale_while_revalidate_seconds:
                return Usability.REVALIDATE
        if now < entry.fresh_until + self.stale_if_error_seconds:
            return Usability.IF_ERROR
        return Usability.GONE


@lru_cache(maxsize=16_384)
def _share(id_: Id) -> float:
    """A number in [0, 1) that every gateway derives alike from an id."""
    return crc32(id_.encode()) / 2**32


@lru_cache(maxsize=1024)
def _greatest_share(ids: tuple[Id, ...]) -> float:
    return max(map(_share, ids))
