"""Writes and purges that Redis missed, kept until they can be replayed. Pure; bounded.

Another server has missed the recent writes too.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from gateway.model import Id, UserKind

MAX_USER_KINDS = 10_000
MAX_IDS = 50_000
MAX_REPLAYED = 10_000
"""Replayed ids whose stamp is remembered; it matters for no longer than a hold."""

MAX_RECENT = 10_000
"""Written ids that are remembered for a move to another server; beyond it the oldest are forgotten."""


class Undelivered(msgspec.Struct, frozen=True):
    """What Redis missed of one user and type.

    Purges are kept apart from writes: a purge that is replayed must void neither the hold of a write nor a
    write under way.
    """

    ids: dict[Id, int] = {}
    """For each written id, the number of ended writes that Redis may still count as under way."""
    all: bool = False
    """There were more written ids than are kept: any id may have been written."""
    purged: frozenset[Id] | None = frozenset()
    """The ids purged; None: all."""

    @property
    def writes(self) -> bool:
        """Whether Redis missed a write."""
        return self.all or bool(self.ids)

    @property
    def purges(self) -> bool:
        """Whether Redis missed a purge."""
        return self.purged is None or bool(self.purged)

    @property
    def whole(self) -> bool:
        """Whether nothing that Redis has of this user and type is trusted."""
        return self.all or self.purged is None

    @property
    def names(self) -> int:
        """Number of ids kept."""
        return len(self.ids) + len(self.purged or ())

    def among(self, ids: Iterable[Id]) -> set[Id]:
        """Return those of `ids` for which Redis is not trusted."""
        if self.all or self.purged is None:
            return set(ids)
        return {id_ for id_ in ids if id_ in self.ids or id_ in self.purged}


class RetryQueue:
    """Undelivered writes by user and type. Entries are replaced, never changed: `is` compares them."""

    def __init__(self, *, max_user_kinds: int = MAX_USER_KINDS, max_ids: int = MAX_IDS) -> None:
        self._max_user_kinds = max_user_kinds
        self._max_ids = max_ids
        self._undelivered: dict[UserKind, Undelivered] = {}
        self._ids = 0
        self._open: dict[tuple[UserKind, Id], int] = {}
        self._replayed_begins: dict[tuple[UserKind, Id], bytes] = {}
        self._replayed: OrderedDict[tuple[UserKind, Id], bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._undelivered)

    def entries(self) -> list[tuple[UserKind, Undelivered]]:
        """What is to be replayed, oldest first."""
        return list(self._undelivered.items())

    def get(self, user_kind: UserKind) -> Undelivered | None:
        """What is undelivered of one user and type."""
        return self._undelivered.get(user_kind)

    def add(self, user_kind: UserKind, id_: Id, *, ended: int = 0) -> bool:
        """Keep a missed write of `id_`. False if there is no room even for its user and type."""
        before = self._undelivered.get(user_kind, Undelivered())
        if before.all or self._ids >= self._max_ids:
            # Replaying it drops all ratings, so purges need not be kept beside it.
            return self._put(user_kind, Undelivered(all=True))
        ids = {**before.ids, id_: before.ids.get(id_, 0) + ended}
        return self._put(user_kind, msgspec.structs.replace(before, ids=ids))

    def add_purge(self, user_kind: UserKind, ids: Sequence[Id] | None) -> bool:
        """Keep a missed purge of `ids` (None: all). False if there is no room."""
        before = self._undelivered.get(user_kind, Undelivered())
        purged = None
        if ids is not None and before.purged is not None and self._ids + len(ids) <= self._max_ids:
            purged = before.purged.union(ids)
        return self._put(user_kind, msgspec.structs.replace(before, purged=purged))

    def drop(self, user_kind: UserKind, id_: Id) -> None:
        """A later write of `id_` was delivered: drop the earlier one unless writes have ended since."""
        before = self._undelivered.get(user_kind)
        if before is not None and before.ids.get(id_) == 0:
            ids = {other: ended for other, ended in before.ids.items() if other != id_}
            self._put(user_kind, msgspec.structs.replace(before, ids=ids))

    def replayed(self, user_kind: UserKind, entry: Undelivered, stamp: bytes | None) -> None:
        """Redis took `entry`, its writes under `stamp`. What was added meanwhile stays."""
        if stamp is not None:
            self._remember(user_kind, entry.ids, stamp)
        if self._undelivered.get(user_kind) is entry:
            self._put(user_kind, Undelivered())

    def own_replays(self, user_kind: UserKind, pending: Mapping[Id, object]) -> frozenset[Id]:
        """The ids whose pending marker came from a replay of this gateway, with no other write since."""
        return frozenset(
            id_ for id_, stamp in pending.items() if self._replayed.get((user_kind, id_)) == stamp
        )

    def postpone(self, user_kind: UserKind) -> None:
        """Move `user_kind` to the end: it could not be replayed now."""
        if user_kind in self._undelivered:
            self._undelivered[user_kind] = self._undelivered.pop(user_kind)

    def begin_undelivered(self, user_kind: UserKind, id_: Id) -> None:
        """A write begins that Redis missed the begin of."""
        self._open[user_kind, id_] = self._open.get((user_kind, id_), 0) + 1

    def replayed_begin(self, user_kind: UserKind, id_: Id) -> bytes | None:
        """The stamp that ends such a write, if its begin was replayed meanwhile and no other overlapped."""
        left = self._open.pop((user_kind, id_), 1) - 1
        stamp = self._replayed_begins.pop((user_kind, id_), None)
        if left:
            self._open[user_kind, id_] = left
            return None
        return stamp

    def _remember(self, user_kind: UserKind, ids: Iterable[Id], stamp: bytes) -> None:
        for id_ in ids:
            self._replayed[user_kind, id_] = stamp
            self._replayed.move_to_end((user_kind, id_))
            if self._open.get((user_kind, id_)) == 1:
                self._replayed_begins[user_kind, id_] = stamp
        while len(self._replayed) > MAX_REPLAYED:
            self._replayed.popitem(last=False)

    def _put(self, user_kind: UserKind, entry: Undelivered) -> bool:
        before = self._undelivered.get(user_kind)
        if before is None and len(self._undelivered) >= self._max_user_kinds:
            return False
        self._ids += entry.names - (before.names if before else 0)
        if entry.writes or entry.purges:
            self._undelivered[user_kind] = entry
        else:
            self._undelivered.pop(user_kind, None)
        return True


class RecentWrites:
    """The ids written in the last `seconds`: another server may have ratings from before.

    Times are the event loop's seconds.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._written_at: OrderedDict[tuple[UserKind, Id], float] = OrderedDict()

    def add(self, user_kind: UserKind, id_: Id, now: float) -> None:
        """A write of `id_` ends."""
        self._written_at[user_kind, id_] = now
        self._written_at.move_to_end((user_kind, id_))
        self._forget(now)

    def ids(self, now: float) -> list[tuple[UserKind, Id]]:
        """What was written, oldest first."""
        self._forget(now)
        return list(self._written_at)

    def _forget(self, now: float) -> None:
        while self._written_at:
            written, at = next(iter(self._written_at.items()))
            if len(self._written_at) <= MAX_RECENT and now < at + self._seconds:
                return
            del self._written_at[written]
