"""A cache entry, and how usable it is: a pure function of the entry, the time and the freshness settings.

fetched_at          fresh_until                                     fresh_until + stale_if_error
    │── FRESH ───────────│── REVALIDATE ──│── IF_ERROR ─────────────────│── GONE
                                          └ fresh_until + stale_while_revalidate
"""

import sys
from collections import Counter
from collections.abc import Mapping
from enum import IntEnum
from math import inf
from typing import Final
from zlib import crc32

import msgspec

from gateway.model import Id, Kind, Rating

SLOT_BYTES: Final = 96
"""Measured size of one id in a partition: the id's string and its place in a dictionary."""
ENTRY_BYTES: Final = 136
"""Measured size of an `Entry` with its times, which all ids that share it divide among them."""


class Usability(IntEnum):
    """What an entry may be used for; the smaller, the better."""

    FRESH = 0
    """Served as a hit."""
    REVALIDATE = 1
    """Served at once and refreshed in the background."""
    IF_ERROR = 2
    """Served only if Apple fails."""
    GONE = 3


class Entry(msgspec.Struct, frozen=True, gc=False, eq=False):
    """The rating of one or more ids of a partition. Times are monotonic seconds of this process.

    Ids that were fetched together with the same rating share one entry, so entries are compared and hashed
    by identity: the freshness of an answer is decided on its few distinct entries.
    """

    rating: Rating
    fetched_at: float
    """When Apple reported it, to this gateway or another."""
    trusted_at: float
    """When it was last checked against writes: trusted if no invalidation can have been missed since."""
    fresh_until: float
    ask_when_stale: bool = False
    """Once stale, ask Apple before serving it: a write on the paired type may have changed the rating."""
    bytes_per_id: int = SLOT_BYTES + ENTRY_BYTES
    """Estimated memory of each id that shares this entry."""


def bytes_per_id(rating: Rating, sharers: int = 1) -> int:
    """Estimate the memory of each of the `sharers` ids that will share an entry of `rating`."""
    own_bytes = ENTRY_BYTES + (sys.getsizeof(rating) if isinstance(rating, bytes) else 0)
    return SLOT_BYTES - own_bytes // -sharers  # rounded up


def expired(entry: Entry, now: float) -> Entry:
    """Return the entry as stale from `now` on, to be served only if Apple fails."""
    return msgspec.structs.replace(entry, fresh_until=min(entry.fresh_until, now), ask_when_stale=True)


def all_expired(entries: Mapping[Id, Entry], now: float) -> dict[Id, Entry]:
    """Return entries as `expired` does, each distinct one once: ids that share an entry go on sharing one."""
    replaced = {entry: expired(entry, now) for entry in set(entries.values())}
    return {id_: replaced[entry] for id_, entry in entries.items()}


class Freshness(msgspec.Struct, frozen=True):
    """How long entries are usable; seconds, except `jitter` (a fraction of `fresh_seconds`)."""

    fresh_seconds: float
    stale_while_revalidate_seconds: float
    stale_if_error_seconds: float
    jitter: float

    @property
    def stale_seconds(self) -> float:
        """How long past its freshness an entry has a use."""
        return max(self.stale_while_revalidate_seconds, self.stale_if_error_seconds)

    @property
    def lifetime_seconds(self) -> float:
        """The age after which an entry has no use."""
        return self.fresh_seconds + self.stale_seconds

    def fresh_seconds_of(self, user_key: bytes, kind: Kind) -> float:
        """Freshness of one user's ratings of one type: jittered alike on every gateway.

        Jitter by user instead of by id lets ids that were fetched together expire, and be refetched,
        together.
        """
        return self.fresh_seconds * (1 - self.jitter * (crc32(kind.encode(), crc32(user_key)) / 2**32))

    def entry(
        self,
        rating: Rating,
        now: float,
        *,
        fresh_seconds: float,
        age: float = 0.0,
        trusted_at: float | None = None,
        cap: float | None = None,
        held_seconds: float = -inf,
        size: int | None = None,
    ) -> Entry:
        """Create the entry for a rating that arrives at `now` and was reported `age` seconds ago.

        `fresh_seconds` is the jittered freshness, `cap` the longest time from now that the entry may be
        served without asking Apple, `held_seconds` the rest of a write's hold, which no shorter freshness
        cuts, and `size` the `bytes_per_id` of an entry that is shared.
        """
        trusted_at = now if trusted_at is None else trusted_at
        fresh_until = now + max(fresh_seconds - age, held_seconds)
        size = bytes_per_id(rating) if size is None else size
        # With no cap left, Apple is asked first, even if `max-stale` is unbounded.
        if cap is None or (cap > 0 and now + cap >= fresh_until + self.stale_while_revalidate_seconds):
            return Entry(rating, now - age, trusted_at, fresh_until, bytes_per_id=size)
        return Entry(
            rating, now - age, trusted_at, min(fresh_until, now + cap), ask_when_stale=True, bytes_per_id=size
        )

    def entries(
        self,
        ratings: Mapping[Id, Rating],
        now: float,
        *,
        fresh_seconds: float,
        trusted_at: float,
        cap: float | None,
    ) -> dict[Id, Entry]:
        """Create the entries of ratings that Apple reports `now`: ids with the same rating share one."""
        shared = {
            rating: self.entry(
                rating,
                now,
                fresh_seconds=fresh_seconds,
                trusted_at=trusted_at,
                cap=cap,
                size=bytes_per_id(rating, ids),
            )
            for rating, ids in Counter(ratings.values()).items()
        }
        return {id_: shared[rating] for id_, rating in ratings.items()}

    def usability(self, entry: Entry, now: float, trusted_since: float) -> Usability:
        """Judge `entry`; one that was last trusted before `trusted_since` serves only if Apple fails."""
        if entry.trusted_at >= trusted_since:
            if now < entry.fresh_until:
                return Usability.FRESH
            if not entry.ask_when_stale and now < entry.fresh_until + self.stale_while_revalidate_seconds:
                return Usability.REVALIDATE
        if now < entry.fresh_until + self.stale_if_error_seconds:
            return Usability.IF_ERROR
        return Usability.GONE
