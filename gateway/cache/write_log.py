"""What this process knows of recent writes, by the rule: versions, holds, open outcomes, marks of twins.

It stands beside the entries, not in them: a fill asks it for admission, a read for holds. A record is kept
for as long as it can matter; what was pruned lives on in the floor, below which every ticket is too old.
"""

from collections import OrderedDict
from collections.abc import Collection, Mapping

from gateway.cache import write_rule
from gateway.model import Id, Kind

WRITE_SECONDS = 60.0
"""A write that has not ended by then counts for nothing."""
MAX_RECORDS = 50_000


class _Record:
    """The writes of one user and kind."""

    __slots__ = ("cells", "changed_at", "mark", "version")

    def __init__(self) -> None:
        self.version = 0
        self.cells: dict[Id, write_rule.StoredRating | write_rule.PendingWrite] = {}
        self.mark: write_rule.PairedWrite | None = None
        self.changed_at = 0.0


class WriteLog:
    """Times are monotonic seconds; a ticket is the `version` of the ledger when a fetch begins."""

    def __init__(self, *, hold_seconds: float) -> None:
        self._hold = hold_seconds
        self._keep = WRITE_SECONDS + hold_seconds
        self._records: OrderedDict[tuple[bytes, Kind], _Record] = OrderedDict()
        self._floor = 0
        self.version = 0
        """Raised by everything that voids fetches under way, of whichever user."""

    def __len__(self) -> int:
        return len(self._records)

    def admits(self, ticket: int, user_key: bytes, kind: Kind) -> bool:
        """Whether what a fetch brought may be kept: no write came in since its ticket was taken."""
        record = self._records.get((user_key, kind))
        return ticket >= (self._floor if record is None else record.version)

    def held(self, user_key: bytes, kind: Kind, now: float) -> Mapping[Id, write_rule.StoredRating]:
        """Written values within their hold."""
        if not (cells := self._standing(user_key, kind, now)):
            return {}
        return {id_: held for id_, cell in cells.items() if (held := write_rule.held(cell, now)) is not None}

    def marks(self, user_key: bytes, kind: Kind, now: float) -> Mapping[Id, int]:
        """Ids whose write is under way or ended unknown, with its stamp."""
        cells = self._standing(user_key, kind, now)
        return {id_: cell.stamp for id_, cell in cells.items() if isinstance(cell, write_rule.PendingWrite)}

    def cap_until(self, user_key: bytes, kind: Kind, now: float) -> float | None:
        """Until when what is fetched now is fresh at the longest, after a write on the twin kind."""
        record = self._records.get((user_key, kind))
        if record is None or record.mark is None or now >= record.mark.until:
            return None
        return record.mark.until

    def begin(self, user_key: bytes, kind: Kind, id_: Id, now: float) -> int:
        """A write is about to be sent. Its stamp, for `end`."""
        record = self._raise(user_key, kind, now)
        record.cells[id_] = write_rule.begin(record.cells.get(id_), record.version, now, WRITE_SECONDS)
        self._mark_twin(user_key, kind, now)
        return record.version

    def end(
        self, user_key: bytes, kind: Kind, id_: Id, stamp: int, outcome: write_rule.Outcome, now: float
    ) -> write_rule.Record:
        """The write has ended; what the id's cell is now."""
        before = self._records.get((user_key, kind))
        cell = None if before is None else before.cells.get(id_)
        record = self._raise(user_key, kind, now)
        after = write_rule.end(cell, stamp, outcome, version=record.version, now=now, hold=self._hold)
        if after is None:
            record.cells.pop(id_, None)
        else:
            record.cells[id_] = after
        if outcome is not write_rule.UNCHANGED:
            self._mark_twin(user_key, kind, now)
        return after

    def overwritten(self, user_key: bytes, kind: Kind, ids: Collection[Id], now: float) -> None:
        """Another gateway wrote `ids`: void fetches under way and holds."""
        record = self._raise(user_key, kind, now)
        for id_ in ids:
            after = write_rule.overtaken(record.cells.pop(id_, None), record.version, now)
            if after is not None:
                record.cells[id_] = after

    def purged(self, user_key: bytes, kind: Kind, now: float) -> None:
        """Cached ratings were dropped: void fetches under way. What writes are promised outlives it."""
        self._raise(user_key, kind, now)

    def mark(self, user_key: bytes, kind: Kind, now: float) -> None:
        """A write touched the twin of `kind`."""
        record = self._raise(user_key, kind, now)
        record.mark = write_rule.marked(record.version, now, self._hold)

    def _mark_twin(self, user_key: bytes, kind: Kind, now: float) -> None:
        if kind.paired is not None:
            self.mark(user_key, kind.paired, now)

    def _standing(self, user_key: bytes, kind: Kind, now: float) -> Mapping[Id, write_rule.Record]:
        """The cells that still say something; the others are dropped when met."""
        record = self._records.get((user_key, kind))
        if record is None or not record.cells:
            return {}
        for id_, cell in list(record.cells.items()):
            if write_rule.fillable(cell, now):
                del record.cells[id_]
        return record.cells

    def _raise(self, user_key: bytes, kind: Kind, now: float) -> _Record:
        record = self._records.setdefault((user_key, kind), _Record())
        self._records.move_to_end((user_key, kind))
        self.version += 1
        record.version = self.version
        record.changed_at = now
        self._prune(now)
        return record

    def _prune(self, now: float) -> None:
        while self._records:
            key, oldest = next(iter(self._records.items()))
            if len(self._records) <= MAX_RECORDS and now < oldest.changed_at + self._keep:
                return
            self._floor = max(self._floor, oldest.version)
            del self._records[key]
