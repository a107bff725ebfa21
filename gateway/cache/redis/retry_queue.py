"""Writes and purges that Redis missed, kept until they can be replayed. Pure; bounded.

A write reaches Redis twice. Its begin marks the id as pending, under a stamp. Its end stores the rating, if
the id is still pending under that stamp. If Redis misses the begin:

1. `begin_missed` counts the write as under way, and `add` queues its id.
2. The replay marks the id as pending under a new stamp, which `replayed` remembers.
3. `take_replay_stamp` gives the end this stamp: the rating is stored, unless writes of the id overlapped.
4. `own_replays` distinguishes ids pending under such a stamp from those that another gateway writes: the
   former may be served from memory.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from gateway.bounded import keep_latest
from gateway.cache.write_rule import PendingWrite
from gateway.model import Id, UserKind

MAX_USER_KINDS = 10_000
MAX_IDS = 50_000
MAX_REPLAYED = 10_000
"""Replayed ids whose stamp is remembered; it matters for no longer than a hold."""
MAX_UNCONFIRMED = 10_000
"""Ids that failed requests may have left pending; beyond it, the oldest markers count as others'."""


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
    """What Redis missed, by user and type. Entries are immutable: one that grows becomes another object."""

    def __init__(self, *, max_user_kinds: int = MAX_USER_KINDS, max_ids: int = MAX_IDS) -> None:
        self._max_user_kinds = max_user_kinds
        self._max_ids = max_ids
        self._undelivered: dict[UserKind, Undelivered] = {}
        self._ids = 0
        self._missed_begins: dict[tuple[UserKind, Id], int] = {}
        """By id: the writes under way whose begin Redis missed."""
        self._stamps_to_end: dict[tuple[UserKind, Id], bytes] = {}
        """By id with exactly one such write: the stamp of its latest replay."""
        self._replay_stamps: OrderedDict[tuple[UserKind, Id], bytes] = OrderedDict()
        """By id: the stamp of its latest replay, in the order of the replays."""
        self._own_stamps: OrderedDict[tuple[UserKind, Id], bytes] = OrderedDict()
        """By id: the stamp of the latest begin, or end that stored nothing, which Redis acknowledged."""
        self._unconfirmed: OrderedDict[tuple[UserKind, Id], None] = OrderedDict()
        """Ids of requests that failed, and may have left a pending marker or still may."""
        self._unconfirmed_begins: OrderedDict[tuple[UserKind, Id], None] = OrderedDict()
        """The same of begins: the marker of one counts one writer."""

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
        """Remove `id_`, since a later write of it was delivered, unless Redis missed the end of one."""
        before = self._undelivered.get(user_kind)
        if before is not None and before.ids.get(id_) == 0:
            self._confirm(user_kind, id_)
            ids = {other: ended for other, ended in before.ids.items() if other != id_}
            self._put(user_kind, msgspec.structs.replace(before, ids=ids))

    def replayed(
        self, user_kind: UserKind, entry: Undelivered, stamp: bytes | None, overtaken: Collection[Id] = ()
    ) -> None:
        """Remove `entry`, which was replayed, its writes under `stamp`. If it grew meanwhile, it stays.

        The ids of `overtaken` were written by another gateway after a write of this one had begun.
        """
        if stamp is not None:
            self._remember(user_kind, entry.ids, stamp)
            for id_ in entry.ids:
                self._confirm(user_kind, id_)
            for id_ in overtaken:
                # Its end must not store the rating: the writes overlapped, as far as is known.
                self._stamps_to_end.pop((user_kind, id_), None)
            if entry.all:
                for key in [*self._unconfirmed, *self._unconfirmed_begins]:
                    if key[0] == user_kind:
                        self._confirm(*key)
        if self._undelivered.get(user_kind) is entry:
            self._put(user_kind, Undelivered())

    def own_replays(self, user_kind: UserKind, pending: Mapping[Id, object]) -> frozenset[Id]:
        """Those of the `pending` ids that are so under the stamp of a replay: no gateway wrote them since."""
        return frozenset(
            id_ for id_, stamp in pending.items() if self._replay_stamps.get((user_kind, id_)) == stamp
        )

    def ended(self, user_kind: UserKind, id_: Id) -> int:
        """The number of ended writes of `id_` that Redis may still count as under way."""
        entry = self._undelivered.get(user_kind)
        return 0 if entry is None else entry.ids.get(id_, 0)

    def note_marker(self, user_kind: UserKind, id_: Id, stamp: bytes) -> None:
        """Note that a replay, or an end without a begin, has left `id_` pending under `stamp`."""
        keep_latest(self._replay_stamps, (user_kind, id_), stamp, MAX_REPLAYED)

    def note_own_stamp(self, user_kind: UserKind, id_: Id, stamp: bytes) -> None:
        """Note that a begin or an end here has left `id_` pending under `stamp`, if at all."""
        keep_latest(self._own_stamps, (user_kind, id_), stamp, MAX_REPLAYED)

    def note_unconfirmed(self, user_kind: UserKind, ids: Iterable[Id]) -> None:
        """Note that a request failed which may have left these ids pending, or still may."""
        for id_ in ids:
            keep_latest(self._unconfirmed, (user_kind, id_), None, MAX_UNCONFIRMED)

    def note_unconfirmed_begin(self, user_kind: UserKind, id_: Id) -> None:
        """Note that a begin failed which may have left `id_` pending, or still may."""
        keep_latest(self._unconfirmed_begins, (user_kind, id_), None, MAX_UNCONFIRMED)

    def may_have_marked(self, user_kind: UserKind, id_: Id, marker: PendingWrite) -> bool:
        """Whether this gateway left `id_` pending under `marker`, or may have."""
        key, stamp = (user_kind, id_), b"%d" % marker.stamp
        if key in self._unconfirmed or stamp in (self._replay_stamps.get(key), self._own_stamps.get(key)):
            return True
        return key in self._unconfirmed_begins and marker.writers == 1 and not marker.contested

    def postpone(self, user_kind: UserKind) -> None:
        """Move `user_kind`, which could not be replayed now, to the end."""
        if user_kind in self._undelivered:
            self._undelivered[user_kind] = self._undelivered.pop(user_kind)

    def begin_missed(self, user_kind: UserKind, id_: Id) -> None:
        """Count a write as under way, whose begin Redis missed."""
        self._missed_begins[user_kind, id_] = self._missed_begins.get((user_kind, id_), 0) + 1

    def take_replay_stamp(self, user_kind: UserKind, id_: Id) -> bytes | None:
        """End a write whose begin Redis missed; return the stamp that its replay got in Redis.

        None if it was not replayed yet, or if another such write of the id overlaps.
        """
        left = self._missed_begins.pop((user_kind, id_), 1) - 1
        stamp = self._stamps_to_end.pop((user_kind, id_), None)
        if left:
            self._missed_begins[user_kind, id_] = left
            return None
        return stamp

    def _confirm(self, user_kind: UserKind, id_: Id) -> None:
        self._unconfirmed.pop((user_kind, id_), None)
        self._unconfirmed_begins.pop((user_kind, id_), None)

    def _remember(self, user_kind: UserKind, ids: Iterable[Id], stamp: bytes) -> None:
        for id_ in ids:
            self.note_marker(user_kind, id_, stamp)
            if self._missed_begins.get((user_kind, id_)) == 1:
                self._stamps_to_end[user_kind, id_] = stamp

    def _put(self, user_kind: UserKind, entry: Undelivered) -> bool:
        """Replace the entry of `user_kind`; False if there is no room for another one."""
        before = self._undelivered.get(user_kind)
        if before is None and len(self._undelivered) >= self._max_user_kinds:
            return False
        self._ids += entry.names - (before.names if before else 0)
        if entry.writes or entry.purges:
            self._undelivered[user_kind] = entry
        else:
            self._undelivered.pop(user_kind, None)
        return True
