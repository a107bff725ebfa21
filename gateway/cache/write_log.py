"""The recent writes recorded by this process: write versions, holds, pending writes, writes on paired types.

The log is separate from the entries: storing a fetch asks it for admission, reads ask it for holds. A record
is kept while it can matter. The version of pruned records stays in the floor, below which tokens are too old.
"""

from collections import OrderedDict, deque
from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from gateway.cache import write_rule
from gateway.cache.write_rule import PairedWrite, PendingWrite, StoredRating
from gateway.model import Id, Kind, User, UserKind

KEPT_SECONDS: Final = 60.0
"""How long a version is kept past its hold: once it is pruned, no user's fetch from before it is stored."""
MAX_USER_KINDS: Final = 50_000
"""Users and types whose writes are remembered; beyond it the oldest are forgotten."""

MIN_PRUNED: Final = 256
"""Records of one user and type that are kept without a look at whether they still count."""

MAX_REFUSED: Final = 1024
"""Refused fills that are remembered, of all users: they explain an old rating in the log."""


class _UserWrites:
    """The writes of one user and type."""

    __slots__ = ("kept_until", "paired", "prune_at", "records", "version")

    def __init__(self) -> None:
        self.version = 0
        self.records: dict[Id, StoredRating | PendingWrite] = {}
        self.paired: PairedWrite | None = None
        self.kept_until = 0.0
        self.prune_at = MIN_PRUNED
        """As soon as there are so many records, those that no longer count are dropped."""


class BegunWrite(msgspec.Struct, frozen=True):
    """A write under way, with the stamps that distinguish it from other writes of the same id."""

    user: User
    kind: Kind
    id: Id
    stamp: int
    shared_stamp: bytes | None

    @property
    def user_kind(self) -> UserKind:
        return (self.user.key, self.kind)


class WriteLog:
    """Times are monotonic seconds; a fetch's token is the log's `version` when it begins."""

    def __init__(self, *, hold_seconds: float) -> None:
        self._hold = hold_seconds
        self._keep = KEPT_SECONDS + hold_seconds
        self._writes: OrderedDict[UserKind, _UserWrites] = OrderedDict()
        self._floor = 0
        self._refused: deque[tuple[float, UserKind]] = deque(maxlen=MAX_REFUSED)
        self.version = 0
        """Raised by everything that voids fetches under way, of any user."""

    def __len__(self) -> int:
        return len(self._writes)

    def admits(self, version: int, user_kind: UserKind) -> bool:
        """Whether a fetch that began at `version` may be stored: no write has begun or ended since."""
        writes = self._writes.get(user_kind)
        return version >= (self._floor if writes is None else writes.version)

    def fill_refused(self, user_kind: UserKind, now: float) -> None:
        """Record that a fetch was not stored, here or in Redis, because of a write since it began."""
        self._refused.append((now, user_kind))

    def fills_refused(self, user_kind: UserKind, since: float) -> int:
        """Return how many of the latest refused fills were refused `since` then."""
        return sum(at >= since and of == user_kind for at, of in self._refused)

    def holds(self, user_kind: UserKind, now: float) -> Mapping[Id, StoredRating]:
        """Return the written ratings within their hold."""
        if not (records := self._standing(user_kind, now)):
            return {}
        return {
            id_: held for id_, record in records.items() if (held := write_rule.held(record, now)) is not None
        }

    def pending(self, user_kind: UserKind, now: float) -> Mapping[Id, int]:
        """Return the stamps of ids whose write is under way or ended unknown."""
        if not (records := self._standing(user_kind, now)):
            return {}
        return {id_: record.stamp for id_, record in records.items() if isinstance(record, PendingWrite)}

    def cap_until(self, user_kind: UserKind, now: float) -> float | None:
        """Return until when a rating fetched now may be fresh, after a write on the paired type."""
        writes = self._writes.get(user_kind)
        if writes is None or writes.paired is None or now >= writes.paired.until:
            return None
        return writes.paired.until

    def begin(self, user_kind: UserKind, id_: Id, now: float, write_seconds: float) -> int:
        """Record that a write is about to be sent; return its stamp, for `end`.

        A write that has not ended after `write_seconds` counts for nothing.
        """
        writes = self._raise(user_kind, now)
        writes.records[id_] = write_rule.begin(writes.records.get(id_), writes.version, now, write_seconds)
        writes.kept_until = max(writes.kept_until, now + write_seconds)
        self._mark_paired(user_kind, now)
        return writes.version

    def end(
        self, user_kind: UserKind, id_: Id, stamp: int, outcome: write_rule.Outcome, now: float
    ) -> write_rule.Record:
        """Record that the write has ended; return the id's record."""
        before = self._writes.get(user_kind)
        record = None if before is None else before.records.get(id_)
        writes = self._raise(user_kind, now)
        after = write_rule.end(record, stamp, outcome, version=writes.version, now=now, hold=self._hold)
        if after is None:
            writes.records.pop(id_, None)
        else:
            writes.records[id_] = after
        if outcome is not write_rule.UNCHANGED:
            self._mark_paired(user_kind, now)
        return after

    def overwritten(self, user_kind: UserKind, ids: Collection[Id], now: float) -> None:
        """Another gateway wrote `ids`: void fetches under way, and holds."""
        writes = self._raise(user_kind, now)
        for id_ in ids:
            after = write_rule.overtaken(writes.records.pop(id_, None), writes.version, now)
            if after is not None:
                writes.records[id_] = after

    def purged(self, user_kind: UserKind, now: float) -> None:
        """Ratings were purged: void fetches under way; pending writes and holds outlive it."""
        self._raise(user_kind, now)

    def paired_written(self, user_kind: UserKind, now: float) -> None:
        """The type that is paired with this one was written."""
        writes = self._raise(user_kind, now)
        writes.paired = write_rule.paired_write(writes.version, now, self._hold)

    def _mark_paired(self, user_kind: UserKind, now: float) -> None:
        user_key, kind = user_kind
        if kind.paired is not None:
            self.paired_written((user_key, kind.paired), now)

    def _standing(self, user_kind: UserKind, now: float) -> Mapping[Id, write_rule.Record]:
        """Return the records that still count, and drop the others."""
        writes = self._writes.get(user_kind)
        if writes is None or not writes.records:
            return {}
        for id_, record in list(writes.records.items()):
            if write_rule.fillable(record, now):
                del writes.records[id_]
        return writes.records

    def _raise(self, user_kind: UserKind, now: float) -> _UserWrites:
        writes = self._writes.setdefault(user_kind, _UserWrites())
        self._writes.move_to_end(user_kind)
        self.version += 1
        writes.version = self.version
        writes.kept_until = max(writes.kept_until, now + self._keep)
        if len(writes.records) >= writes.prune_at:
            # Reads drop them too, but a user may only write.
            writes.prune_at = max(MIN_PRUNED, 2 * len(self._standing(user_kind, now)))
        self._prune(now)
        return writes

    def _prune(self, now: float) -> None:
        while self._writes:
            key, oldest = next(iter(self._writes.items()))
            if len(self._writes) <= MAX_USER_KINDS and now < oldest.kept_until:
                return
            self._floor = max(self._floor, oldest.version)
            del self._writes[key]
