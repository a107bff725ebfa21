"""Encodes ratings as hash fields and decodes the replies to lookups: pure, and the busiest code of the tier.

A stored rating or a pending write is one field; a plain rating takes seven bytes:

    byte 0     format (an unknown one is a miss)
    byte 1     content: 0 unrated, 1 liked, 2 disliked, 3 JSON, 4 pending write; + 128 if there is a hold
    bytes 2-6  ticks: when it was stored (pending write: when its term ends)
    stored     [5 bytes of ticks: the end of the hold] [JSON]
    pending    1 byte writers, 1 byte mark, 7 bytes stamp, [the rating held before it]

The mark is 1 for a contested write, and 2 for one that began while the rating was unknown.

Numbers are big-endian. The scripts add format and times; only this module encodes ratings.

A reply holds few distinct values, because equal ratings that were fetched together are stored as equal bytes.
Each distinct value is decoded once, into an entry that its ids share.
"""

from collections.abc import Hashable, Sequence
from typing import Any, Final, Literal

import msgspec

from gateway.cache import write_rule
from gateway.cache.complete import Complete, if_fresh
from gateway.cache.entry import Entry, Freshness, bytes_per_id
from gateway.cache.lookup import Lookup
from gateway.cache.redis.errors import FailureKind, RedisFailed
from gateway.cache.redis.layout import NOTHING, TAG_BYTES, TICKS, Meta, read_meta
from gateway.cache.write_rule import PendingWrite, Record, StoredRating
from gateway.json_depth import check_depth
from gateway.model import MAX_VARIANTS, Id, Rating

FORMAT: Final = 1
UNRATED, LIKED, DISLIKED, JSON, PENDING = range(5)
HOLD: Final = 128
PLAIN_BYTES: Final = 7
_HELD_BYTES: Final = 12
_PENDING_BYTES: Final = 16
_CONTESTED: Final = 1
_AFTER_UNKNOWN: Final = 2
PLAIN_RATINGS: Final[dict[int, Rating]] = {UNRATED: None, LIKED: 1, DISLIKED: -1}
_CODES: Final[dict[Rating, bytes]] = {rating: bytes((code,)) for code, rating in PLAIN_RATINGS.items()}

_TOLERANCE_SECONDS: Final = 1.0
"""TIME runs before HMGET, so a field may be up to this much newer than `now`."""


class _Attributes(msgspec.Struct):
    value: Literal[1, -1]


class _Resource(msgspec.Struct):
    """What every resource must have, besides any other fields."""

    id: str
    type: Literal["ratings"]
    attributes: _Attributes


_resource = msgspec.json.Decoder(_Resource)


def content(rating: Rating) -> bytes:
    """Encode a rating: the content byte, and the JSON if the resource has more fields than its rating."""
    return bytes((JSON,)) + rating if isinstance(rating, bytes) else _CODES[rating]


def decode(id_: Id, field: bytes) -> Record:
    """Decode a field, with times in seconds of Redis' clock; None if its format is unknown.

    Raises IndexError or ValueError for a field that was cut short or is otherwise invalid.
    """
    if field[0] != FORMAT:
        return None
    code = field[1]
    if len(field) < _least_bytes(code):
        raise ValueError("field cut short")
    if code == PENDING:
        rest = field[_PENDING_BYTES:]
        before = decode(id_, rest) if rest else None
        return PendingWrite(
            stamp=int.from_bytes(field[9:16]),
            writers=field[7],
            contested=field[8] == _CONTESTED,
            after_unknown=field[8] == _AFTER_UNKNOWN,
            until=int.from_bytes(field[2:7]) / TICKS,
            held=before if isinstance(before, StoredRating) else None,
        )
    fetched_at = int.from_bytes(field[2:7]) / TICKS
    if not code & HOLD:
        return StoredRating(_rating(id_, code, field[PLAIN_BYTES:]), fetched_at)
    held_until = int.from_bytes(field[7:12]) / TICKS
    return StoredRating(_rating(id_, code & ~HOLD, field[_HELD_BYTES:]), fetched_at, held_until)


def _least_bytes(code: int) -> int:
    if code == PENDING:
        return _PENDING_BYTES
    return _HELD_BYTES if code & HOLD else PLAIN_BYTES


def _rating(id_: Id, code: int, rest: bytes) -> Rating:
    if code == JSON:
        return _valid(id_, rest)
    if rest or code not in PLAIN_RATINGS:
        raise ValueError("unknown content, or a plain rating with a tail")
    return PLAIN_RATINGS[code]


def _valid(id_: Id, resource: bytes) -> bytes:
    """Check JSON that goes into answers unchanged."""
    check_depth(resource)
    resource.decode()  # msgspec skips unknown fields without checking their encoding
    try:
        named = _resource.decode(resource).id
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if named != id_:
        raise ValueError("the rating of another id")
    return resource


class Reading(msgspec.Struct):
    """What the replies to one lookup contain, while they are read."""

    freshness: Freshness
    fresh_seconds: float
    """Jittered freshness of the partition."""
    asked_at: float
    """When Redis was asked: monotonic seconds of this process. Entries are judged as of then."""
    now: float
    """The same moment in seconds of Redis' clock."""
    meta: Meta = NOTHING
    entries: dict[Id, Entry] = {}
    complete: Complete | None = None
    """The entries, if all ids have a fresh one."""
    holds: dict[Id, StoredRating] = {}
    pending: dict[Id, Hashable] = {}
    expired: list[Id] = []
    """Fields to drop: past their lifetime, or invalid."""
    spoiled: bool = False
    """Whether a field was invalid."""
    lifetime_seconds: float = 0.0
    """The age after which a rating has no use: that of `freshness`."""

    def __post_init__(self) -> None:
        self.lifetime_seconds = self.freshness.lifetime_seconds

    def lookup(self, variant: bytes | None = None) -> Lookup:
        """Return what was read, of the plain partition or of the variant with that name in the meta."""
        meta, paired = self.meta, self.meta.paired
        return Lookup(
            shared_version=meta.version,
            entries=self.entries,
            complete=self.complete,
            holds=self.holds,
            pending=self.pending,
            paired_stamp=b"%d" % paired.stamp if paired else b"",
            cap_until=self.asked_at + paired.until - self.now if paired and self.now < paired.until else None,
            admitted=variant is None or variant in meta.variants or len(meta.variants) < MAX_VARIANTS,
            redis_ahead=self.now - self.asked_at,
        )

    def read_main(self, ids: Sequence[Id], reply: Sequence[Any], tag: bytes) -> None:
        """Read the main hash: its meta, what is stored, and where writes are pending or held."""
        meta, fields = _owned(reply, tag)
        if meta is not None:
            self.meta = read_meta(meta)
        self._read_fields(ids, fields)

    def read_variant(self, ids: Sequence[Id], reply: Sequence[Any], tag: bytes, name: bytes) -> None:
        """Read a variant's hash after the main one, of which only holds and pending writes remain."""
        self.entries, self.complete, self.expired = {}, None, []
        holds, pending = dict(self.holds), dict(self.pending)
        _, fields = _owned(reply, tag)
        # Writes did not update a hash that lost its place among the variants.
        if name in self.meta.variants:
            self._read_fields(ids, fields)
        self.holds, self.pending = holds, pending
        for id_ in (*holds, *pending):
            self.entries.pop(id_, None)

    def _read_fields(self, ids: Sequence[Id], fields: Sequence[bytes | None]) -> None:
        distinct = set(fields)
        # `count` compares all fields one by one.
        missing = fields.count(None) if None in distinct else 0
        sharers = (len(fields) - missing) // max(1, len(distinct) - bool(missing))
        size = bytes_per_id(None, max(1, sharers))
        plain = {field: self._plain(field, size) for field in distinct}
        if None not in plain.values():
            # Nearly always: every id is stored, as a plain rating.
            entries = [plain[field] for field in fields]
            self.entries.update(zip(ids, entries, strict=True))  # type: ignore[arg-type]
            self.complete = if_fresh(ids, entries, plain.values(), self.asked_at)
            return
        for id_, field in zip(ids, fields, strict=True):
            if (entry := plain[field]) is not None:
                self.entries[id_] = entry
            elif field is not None:
                self._read_field(id_, field)

    def _plain(self, field: bytes | None, size: int) -> Entry | None:
        """Decode a plain rating into the entry that all its ids share; None for anything else."""
        if field is None or len(field) != PLAIN_BYTES or field[0] != FORMAT or field[1] not in PLAIN_RATINGS:
            return None
        return self._entry(PLAIN_RATINGS[field[1]], int.from_bytes(field[2:]) / TICKS, size)

    def _entry(self, rating: Rating, fetched_at: float, size: int | None = None) -> Entry | None:
        """Create the entry of a rating; None if it is too old to be served, or from the future."""
        age = self.now - fetched_at
        if not -_TOLERANCE_SECONDS <= age < self.lifetime_seconds:
            return None
        return self.freshness.entry(
            rating,
            self.asked_at,
            fresh_seconds=self.fresh_seconds,
            age=max(age, 0.0),
            cap=write_rule.fetched_cap(self.meta.paired, fetched_at, self.now) if self.meta.paired else None,
            size=size,
        )

    def _read_field(self, id_: Id, field: bytes) -> None:
        """Read a field of any kind: JSON, a hold, a pending write, expired, or invalid."""
        try:
            record = write_rule.standing(decode(id_, field), self.now)
        except (ValueError, LookupError):
            self.spoiled = True
            self.expired.append(id_)
            return
        if record is None:
            return
        if (held := write_rule.held(record, self.now)) is not None:
            self._hold(id_, held, record)
        elif isinstance(record, PendingWrite):
            self.pending[id_] = b"%d" % record.stamp
        elif (entry := self._entry(record.rating, record.fetched_at)) is not None:
            self.entries[id_] = entry
        elif record.fetched_at <= self.now:
            self.expired.append(id_)

    def _hold(self, id_: Id, held: StoredRating, record: StoredRating | PendingWrite) -> None:
        age = max(self.now - held.fetched_at, 0.0)
        held_seconds = (held.held_until or self.now) - self.now
        self.holds[id_] = StoredRating(held.rating, self.asked_at - age, self.asked_at + held_seconds)
        self.entries[id_] = self.freshness.entry(
            held.rating,
            self.asked_at,
            fresh_seconds=self.fresh_seconds,
            age=age,
            cap=write_rule.cap(self.meta.paired, record, self.now),
        )


def _owned(reply: Sequence[Any], tag: bytes) -> tuple[bytes | None, list[bytes | None]]:
    """Return the meta field and the others; raises RedisFailed if the hash has another owner."""
    meta, *fields = reply
    if any(fields) if meta is None else meta[:TAG_BYTES] != tag:
        raise RedisFailed(FailureKind.OWNER)
    return meta, fields
