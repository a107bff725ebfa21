"""The write rule, stated once and purely: what a reader, a fill or another write may do around a write.

Per user and kind there is a *version*, raised by everything that must void fetches under way, and the *mark*
that a write on the twin kind leaves. Per id there is a *cell*: nothing, a rating, or a write of open outcome.

    nothing ──fill──▶ Rated ──begin──▶ Unsettled ─┬─ended with a value────▶ Rated, held
                                       ▲        │ ├─refused───────────────▶ nothing
                                       └─begin──┘ └─unknown, or contested─▶ Unsettled, nobody writing

The local tier applies these functions in monotonic time, Redis the same words in Lua in its own time, so
`now` and every other time here are seconds from any one start. A hold or term stands while now is before it.
"""

from enum import Enum

import msgspec

from gateway.model import Resource


class Unwritten(Enum):
    """How a write ended that gave no value to keep."""

    UNCHANGED = "unchanged"
    """Apple refused it (4xx): what was rated before still is."""
    UNKNOWN = "unknown"
    """Nobody knows (timeout, 5xx): what was rated may have changed."""


UNCHANGED = Unwritten.UNCHANGED
UNKNOWN = Unwritten.UNKNOWN

Outcome = Resource | Unwritten
"""How a write ended: the rating as it now is (None: unrated), or no value."""


class StoredRating(msgspec.Struct, frozen=True):
    """What Apple answered, or what was written."""

    resource: Resource
    fetched_at: float
    held_until: float | None = None
    """Until then a written value outranks what Apple reports."""


class PendingWrite(msgspec.Struct, frozen=True):
    """A write is under way, or its end left the rating open: nothing is stored until the term."""

    stamp: int
    """The version that the latest begin or end made; a fetch from before it is not to be joined."""
    writers: int
    contested: bool
    """Whether writes overlapped: then nobody's value is kept."""
    until: float
    held: StoredRating | None = None
    """The written value whose hold stood when this write began: readers are still promised it."""


Record = StoredRating | PendingWrite | None


class PairedWrite(msgspec.Struct, frozen=True):
    """A write on the twin kind: what was fetched until `at` is not served without asking, and what is fetched
    before `until` is fresh no longer than that, because Apple keeps the two in step with a lag.
    """

    stamp: int
    at: float
    until: float


def raised(version: int, now: float) -> int:
    """The next version: more than `version`, and by the clock, so that none returns when state is lost."""
    return max(version + 1, round(now * 1_000_000))


def marked(version: int, now: float, hold: float) -> PairedWrite:
    """What a write leaves on its twin kind, whose version it has just raised to `version`."""
    return PairedWrite(version, now, now + hold)


def standing(cell: Record, now: float) -> Record:
    """What the cell still says: after its term a write counts for nothing.

    What was held before it is not a rating to be served past its hold: the write may have replaced it.
    """
    return held(cell, now) if isinstance(cell, PendingWrite) and now >= cell.until else cell


def held(cell: Record, now: float) -> StoredRating | None:
    """The written value that is laid over every variant now, and outranks Apple."""
    rated = cell.held if isinstance(cell, PendingWrite) else cell
    if rated is None or rated.held_until is None or now >= rated.held_until:
        return None
    return rated


def begin(cell: Record, stamp: int, now: float, write_seconds: float) -> PendingWrite:
    """The cell when a write is about to be sent; `stamp` is the version it has just raised."""
    cell = standing(cell, now)
    overlaps = isinstance(cell, PendingWrite) and cell.writers > 0
    writers = cell.writers + 1 if isinstance(cell, PendingWrite) and overlaps else 1
    return PendingWrite(stamp, writers, overlaps, now + write_seconds, held(cell, now))


def end(
    cell: Record, stamp: int | None, outcome: Outcome, *, version: int, now: float, hold: float
) -> Record:
    """The cell when a write has ended: a held Rated only where the write was alone from begin to end.

    `stamp` is what its begin returned, None where that could not be told; `version` is the version that this
    end has just raised. A cell with no write in it (lost, purged) is taken for the write's own.
    """
    cell = standing(cell, now)
    # A write that gave no value breaks no promise made for an earlier one.
    promised = held(cell, now) if isinstance(outcome, Unwritten) else None
    if isinstance(cell, PendingWrite):
        if cell.contested or cell.stamp != stamp:
            writers = max(cell.writers - 1, 0)
            until = cell.until if writers else now + hold
            return PendingWrite(version, writers, True, until, promised)
    elif held(cell, now) is not None:
        return PendingWrite(version, 0, True, now + hold, promised)
    if not isinstance(outcome, Unwritten):
        return StoredRating(outcome, now, now + hold)
    return promised if outcome is UNCHANGED else PendingWrite(version, 0, False, now + hold, promised)


def overtaken(cell: Record, stamp: int, now: float) -> Record:
    """The cell when another gateway is heard to have written; `stamp` is the version that this has raised.

    Nothing is left of it but a write of our own that is under way: its end must see that it was not alone.
    """
    cell = standing(cell, now)
    if isinstance(cell, PendingWrite) and cell.writers:
        return PendingWrite(stamp, cell.writers, contested=True, until=cell.until)
    return None


def fillable(cell: Record, now: float) -> bool:
    """Whether a fill may replace the cell; its ticket must still be the version besides.

    Of a variant the plain cell is what is looked at.
    """
    return not isinstance(standing(cell, now), PendingWrite) and held(cell, now) is None


def purged(cell: Record, now: float) -> Record:
    """The cell after a purge: what writes are promised is no cached rating and outlives it."""
    cell = standing(cell, now)
    return cell if isinstance(cell, PendingWrite) or held(cell, now) is not None else None


def forgotten(cell: Record, ended: int, *, version: int, now: float, hold: float) -> PendingWrite:
    """The cell when Redis hears late of a write; `ended` writers had begun here and have ended since."""
    cell = standing(cell, now)
    writers = max(cell.writers - ended, 0) if isinstance(cell, PendingWrite) else 0
    if isinstance(cell, PendingWrite) and writers:
        return PendingWrite(version, writers, True, cell.until)
    return PendingWrite(version, 0, False, now + hold)


def cap(mark: PairedWrite | None, cell: StoredRating | PendingWrite, now: float) -> float | None:
    """Seconds from now until its rating is not served without asking (0: already so); None: no such end.

    Within its hold a written value is served all the same; past it, not where a later write is unsettled.
    """
    promised = held(cell, now)
    hold = (promised.held_until or now) - now if promised is not None else 0.0
    if isinstance(cell, PendingWrite):
        return hold
    if mark is None or cell.fetched_at >= mark.until:
        return None
    return max(hold, 0.0 if cell.fetched_at <= mark.at else mark.until - now)
