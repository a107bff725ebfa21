"""The write rule: what the cache records of a write, and what may be served and stored beside it. Pure.

Each user and type has a *write version*. Writes, purges and replays raise it, which invalidates the fetches
under way. A write on the paired type also leaves a `PairedWrite`. Each id has a *record*: nothing, a stored
rating, or a pending write.

    nothing ──fill──▶ StoredRating ──begin──▶ PendingWrite ─┬─ended with a rating──▶ StoredRating, held
                                              ▲           │ ├─refused──────────────▶ nothing
                                              └───begin───┘ └─otherwise────────────▶ PendingWrite, no writer

A purge within a hold, and a refused write, leave an *ending hold*: a pending write without writers that ends
with the hold of the rating before it. The hold is served to its end, and then nothing is left. But if earlier
writes had left the rating unknown, it stays unknown after a refused one, because Apple may still lag. A write
of unknown outcome leaves the hold before it, too, because the caller was told that it failed. One that Apple
accepted ends it, whether or not its rating is known.

Memory applies these functions in monotonic time; Redis applies the same rule in Lua in its own time
(`redis/lua/common.lua`). What only Redis does to a record is specified in `tests/redis_rule.py`. `now` and
all other times are seconds of one clock. A hold or a term lasts while `now` is before it.
"""

from enum import Enum

import msgspec

from gateway.model import Rating


class Unwritten(Enum):
    """How a write ended that left no rating to store."""

    UNCHANGED = "unchanged"
    """Apple refused it (4xx): the rating is what it was."""
    UNKNOWN = "unknown"
    """Timeout or 5xx: the rating may have changed. The caller was told that the write failed."""
    ACCEPTED = "accepted"
    """Apple carried it out, but did not report the rating."""


UNCHANGED = Unwritten.UNCHANGED
UNKNOWN = Unwritten.UNKNOWN
ACCEPTED = Unwritten.ACCEPTED

Outcome = Rating | Unwritten
"""How a write ended: with the new rating (None: unrated), or without one to store."""


class StoredRating(msgspec.Struct, frozen=True):
    """A rating that Apple reported or that was written through a gateway."""

    rating: Rating
    fetched_at: float
    held_until: float | None = None
    """Until then a written rating outranks what Apple reports."""


class PendingWrite(msgspec.Struct, frozen=True):
    """A write is under way, or ended without a certain rating: nothing is stored before `until`."""

    stamp: int
    """Version that the latest begin or end made; a fetch from before it must not be joined."""
    writers: int
    contested: bool
    """Whether writes overlapped: then none of their ratings is stored."""
    until: float
    held: StoredRating | None = None
    """The written rating whose hold had not ended when this write began."""
    after_unknown: bool = False
    """Whether an earlier write had left the rating unknown when this one began."""


Record = StoredRating | PendingWrite | None


class PairedWrite(msgspec.Struct, frozen=True):
    """What a write on the paired type leaves.

    A rating fetched until `at` is not served without asking. One fetched before `until` is fresh no longer
    than that, because Apple updates the paired type with a delay.
    """

    stamp: int
    at: float
    until: float


def paired_write(version: int, now: float, hold: float) -> PairedWrite:
    """Return what a write leaves on its paired type, whose version it has just raised."""
    return PairedWrite(version, now, now + hold)


def standing(record: Record, now: float) -> Record:
    """Return the record as of now: a pending write whose term has ended no longer counts.

    The rating held before it is not served past its hold, because the write may have replaced it.
    """
    if not isinstance(record, PendingWrite) or now < record.until:
        return record
    return ending(held(record, now), record.stamp)


def held(record: Record, now: float) -> StoredRating | None:
    """Return the written rating that outranks Apple now, in every variant."""
    stored = record.held if isinstance(record, PendingWrite) else record
    if stored is None or stored.held_until is None or now >= stored.held_until:
        return None
    return stored


def begin(record: Record, stamp: int, now: float, write_seconds: float) -> PendingWrite:
    """Return the record when a write is about to be sent; `stamp` is the version it has just raised."""
    record = standing(record, now)
    held_rating, until = held(record, now), now + write_seconds
    if not isinstance(record, PendingWrite):
        return PendingWrite(stamp, 1, False, until, held_rating)
    # A write with a short term ends neither an earlier one with a longer term nor an unknown rating.
    until = max(until, record.until)
    if record.writers:
        return PendingWrite(stamp, record.writers + 1, True, until, held_rating)
    unknown = record != ending(held_rating, record.stamp)
    return PendingWrite(stamp, 1, False, until, held_rating, unknown)


def end(
    record: Record, stamp: int | None, outcome: Outcome, *, version: int, now: float, hold: float
) -> Record:
    """Return the record when a write has ended: a held rating only if the write overlapped with no other.

    `stamp` is what its begin returned, None if that was lost; `version` is the version that this end has
    just raised. A record without a pending write (lost or purged) is treated as this write's.
    """
    record = standing(record, now)
    held_rating = held(record, now) if leaves_hold(outcome) else None
    if isinstance(record, PendingWrite):
        if record.contested or record.stamp != stamp:
            writers = max(record.writers - 1, 0)
            until = record.until if writers else now + hold
            return PendingWrite(version, writers, True, until, held_rating)
    elif held(record, now) is not None:
        return PendingWrite(version, 0, True, now + hold, held_rating)
    if not isinstance(outcome, Unwritten):
        return StoredRating(outcome, now, now + hold)
    if outcome is UNCHANGED and not (isinstance(record, PendingWrite) and record.after_unknown):
        # A purge may have come since the rating was held.
        return ending(held_rating, version)
    return PendingWrite(version, 0, False, now + hold, held_rating)


def leaves_hold(outcome: Outcome) -> bool:
    """Whether a write that ended so leaves the hold of an earlier one: the caller was told that it failed."""
    return outcome is UNCHANGED or outcome is UNKNOWN


def overtaken(record: Record, stamp: int, now: float) -> Record:
    """Return the record when another gateway has written; `stamp` is the version that this has raised.

    Only a write of our own that is under way is left, so that its end counts as overlapping.
    """
    record = standing(record, now)
    if isinstance(record, PendingWrite) and record.writers:
        return PendingWrite(stamp, record.writers, contested=True, until=record.until)
    return None


def fillable(record: Record, now: float) -> bool:
    """Whether a fetched rating may replace the record, if its token is still current.

    For a variant, the record of the plain partition decides.
    """
    return not isinstance(standing(record, now), PendingWrite) and held(record, now) is None


def cap(paired: PairedWrite | None, record: StoredRating | PendingWrite, now: float) -> float | None:
    """Return the seconds for which the rating may be served without asking (0: none); None: no limit.

    Within its hold a written rating is served in any case; past it, not if a later write is pending.
    """
    limit = 0.0 if isinstance(record, PendingWrite) else fetched_cap(paired, record.fetched_at, now)
    if limit is None:
        return None
    held_rating = held(record, now)
    return limit if held_rating is None else max((held_rating.held_until or now) - now, limit)


def fetched_cap(paired: PairedWrite | None, fetched_at: float, now: float) -> float | None:
    """Return the same for a rating that has no hold."""
    if paired is None or fetched_at >= paired.until:
        return None
    return 0.0 if fetched_at <= paired.at else max(0.0, paired.until - now)


def ending(held_rating: StoredRating | None, stamp: int) -> PendingWrite | None:
    """Return the record of a hold that is served to its end; after that the id has no record."""
    if held_rating is None or held_rating.held_until is None:
        return None
    return PendingWrite(stamp, 0, False, held_rating.held_until, held_rating)
