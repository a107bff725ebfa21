"""The recent writes of this gateway, and whether another one wrote an id after them. Pure; bounded.

A gateway that cannot reach Redis receives no invalidations either. When it replays its writes, the records
that they replace in Redis are the only trace of what others wrote meanwhile: see decision 088.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec

from gateway.bounded import keep_latest
from gateway.cache.redis.layout import TICKS
from gateway.cache.write_rule import UNKNOWN, Outcome, PendingWrite, Record, ending, held, leaves_hold
from gateway.clock import MICROSECONDS
from gateway.model import Id, Rating, UserKind

MAX_RECENT = 10_000
"""Written ids that are remembered; beyond it the oldest are forgotten."""
MAX_SENT = 8
"""Ratings of an id that are remembered as sent to Redis; beyond it the oldest count as others'."""


class OwnWrite(NamedTuple):
    """A write through this gateway. Times are the event loop's seconds."""

    begun: float
    ended: float
    outcome: Outcome
    """UNKNOWN while it is under way."""


class Replaced(msgspec.Struct, frozen=True):
    """The record that a script replaced, as it stood at `at`; times are seconds of Redis' clock."""

    record: Record
    at: float
    """When the script ran, less a tick: times of records are rounded down to ticks."""


class RecentWrites:
    """Writes through this gateway in the last `seconds`.

    They are replayed on another Redis, and compared with the records that a replay replaces. Times are the
    event loop's seconds.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ended: OrderedDict[tuple[UserKind, Id], OwnWrite] = OrderedDict()
        self._under_way: dict[tuple[UserKind, Id], OwnWrite] = {}
        self._overtaken_before: set[tuple[UserKind, Id]] = set()
        """Ids under way whose write before was overtaken, but not the one under way."""
        self._sent: OrderedDict[tuple[UserKind, Id], OrderedDict[Rating, float]] = OrderedDict()
        """By id: the ratings that Redis may hold of earlier ends here, and when it acknowledged each.

        Infinite: it did not; it may carry that end out at any time.
        """

    def begin(self, user_kind: UserKind, id_: Id, now: float) -> None:
        """Note that a write of `id_` begins."""
        self._under_way[user_kind, id_] = OwnWrite(now, math.inf, UNKNOWN)

    def end(self, user_kind: UserKind, id_: Id, outcome: Outcome, now: float) -> bool:
        """Note that a write of `id_` ends.

        Returns True if it leaves the hold of an earlier write although another gateway wrote after that one.
        """
        key = (user_kind, id_)
        before = self._ended.get(key) if leaves_hold(outcome) else None
        begun = self._under_way.pop(key, OwnWrite(now, now, outcome)).begun
        overtaken = key in self._overtaken_before
        self._overtaken_before.discard(key)
        self._ended[key] = OwnWrite(begun, now, outcome) if before is None else before._replace(ended=now)
        self._ended.move_to_end(key)
        self._forget(now)
        return overtaken and before is not None

    def note_stored(self, user_kind: UserKind, id_: Id, rating: Rating, now: float) -> None:
        """Note that Redis holds `rating`, with which a write here ended: ends sent before store none."""
        keep_latest(self._sent, (user_kind, id_), OrderedDict([(rating, now)]), MAX_RECENT)

    def note_sent(self, user_kind: UserKind, id_: Id, rating: Rating) -> None:
        """Note that an end with `rating` was sent and not acknowledged."""
        sent = self._sent.get((user_kind, id_), OrderedDict())
        keep_latest(sent, rating, math.inf, MAX_SENT)
        keep_latest(self._sent, (user_kind, id_), sent, MAX_RECENT)

    def note_replayed(self, user_kind: UserKind, ids: Iterable[Id]) -> None:
        """Note that a replay has replaced what earlier ends stored; those that arrive later store none."""
        for id_ in ids:
            self._sent.pop((user_kind, id_), None)

    def written_elsewhere_since(
        self,
        user_kind: UserKind,
        replaced: Mapping[Id, Replaced],
        ended: Mapping[Id, int],
        may_have_marked: Callable[[UserKind, Id, PendingWrite], bool],
        *,
        sent: float,
        now: float,
    ) -> tuple[Id, ...]:
        """Return the ids that another gateway wrote, or may have, after the latest write here had begun.

        `ended` is how many ended writes of this gateway Redis may still count as under way;
        `may_have_marked` is `RetryQueue.may_have_marked`. The script was sent at `sent` or later.
        """

        def overtakes(id_: Id, own: OwnWrite | None) -> bool:
            each = replaced[id_]
            record = each.record
            marked = isinstance(record, PendingWrite) and may_have_marked(user_kind, id_, record)
            stored = self._may_have_stored(user_kind, id_, each, sent)
            return is_later(each, own, now, ended=ended[id_], own_marker=marked, own_hold=stored)

        overtaken = []
        for id_ in replaced:
            key = (user_kind, id_)
            if overtakes(id_, self._under_way.get(key) or self._ended.get(key)):
                overtaken.append(id_)
            elif key in self._under_way and overtakes(id_, self._ended.get(key)):
                self._overtaken_before.add(key)
        return tuple(overtaken)

    def _may_have_stored(self, user_kind: UserKind, id_: Id, replaced: Replaced, sent: float) -> bool:
        """Whether the hold of a record may be that of an earlier end here.

        One that was acknowledged is at least as old as the time from then until the script was sent.
        """
        rated = held(replaced.record, replaced.at)
        if rated is None:
            return False
        acknowledged = self._sent.get((user_kind, id_), OrderedDict()).get(rated.rating)
        return acknowledged is not None and replaced.at + 1 / TICKS - rated.fetched_at >= sent - acknowledged

    def ids(self, now: float) -> list[tuple[UserKind, Id]]:
        """The ids that were written, oldest first."""
        self._forget(now)
        return list(self._ended)

    def _forget(self, now: float) -> None:
        while self._ended:
            key, written = next(iter(self._ended.items()))
            if len(self._ended) <= MAX_RECENT and now < written.ended + self._seconds:
                return
            del self._ended[key]
            self._sent.pop(key, None)


def is_later(
    replaced: Replaced, own: OwnWrite | None, now: float, *, ended: int, own_marker: bool, own_hold: bool
) -> bool:
    """Whether another gateway's write ended after `own` had begun, or may have. None: long ago, or never.

    `own_marker` and `own_hold` say that this gateway may have left the marker, or stored the held rating.
    Ages are compared, not clocks: a record's by Redis' clock, that of the own write by the event loop's.
    """
    record = replaced.record
    # The reply took some time, so the own write began then or later.
    since = -math.inf if own is None else replaced.at - (now - own.begun)
    rated = held(record, replaced.at)
    if (
        rated is not None
        and not own_hold
        and rated.fetched_at >= since
        and (own is None or rated.rating != own.outcome)
    ):
        return True
    if own_marker or not isinstance(record, PendingWrite) or record.stamp < since * MICROSECONDS:
        return False
    if record.writers and not record.contested:
        # A write is under way, and one that ended before it began left the rating unknown.
        return record.after_unknown
    if record.writers:
        # Writes of this gateway alone overlap in Redis if it missed their ends.
        return not 2 <= record.writers <= ended
    return record != ending(rated, record.stamp)
