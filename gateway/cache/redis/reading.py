"""From the replies to a lookup to what they say: pure, and the busiest code of the shared tier."""

from collections.abc import Sequence
from functools import lru_cache, partial
from struct import Struct as Layout
from typing import Any, cast

import msgspec

from gateway.cache import write_rule
from gateway.cache.entry import MEMOISED_IDS
from gateway.cache.redis.codec import (
    DISLIKED,
    FORMAT,
    LIKED,
    PLAIN_BYTES,
    PLAIN_FORMS,
    UNRATED,
    decode,
)
from gateway.cache.redis.errors import Failed, FailureKind
from gateway.cache.redis.keys import MAX_VARIANTS, NOTHING, TAG_BYTES, TICKS, Meta, read_meta
from gateway.cache.redis.values import Found, PlainLookup, SharedLookup
from gateway.cache.write_rule import PairedWrite, PendingWrite
from gateway.model import Id, Kind, Resource

CHUNK_IDS = 1000
"""Ids asked for by one HMGET."""

_PLAIN = Layout(">HBI")
_LEAST = FORMAT << 8 | UNRATED
_MOST = FORMAT << 8 | DISLIKED
_TOLERANCE_TICKS = TICKS
"""A lookup's time is read before its cells: an entry may be this much younger than now, not more."""


class Reading(msgspec.Struct):
    """What a lookup's replies say, while they are read."""

    kind: Kind
    now: float
    """Seconds of Redis' time."""
    lifetime: float
    """Seconds after which an entry is of no use to anybody."""
    meta: Meta = NOTHING
    found: dict[Id, Found] = {}
    held: dict[Id, Resource] = {}
    marks: dict[Id, bytes] = {}
    expired: list[Id] = []
    """What is to be dropped: past its lifetime, or no cell at all."""
    spoiled: bool = False
    """Whether there was such a one."""

    def outcome(self, variant: bytes | None = None) -> SharedLookup:
        """What was read, of the plain partition or of the variant with that name in the meta."""
        meta = self.meta
        return SharedLookup(
            version=meta.version,
            found=self.found,
            held=self.held,
            marks=self.marks,
            twin_mark=b"%d" % meta.mark.stamp if meta.mark else b"",
            cap=meta.mark.until - self.now if meta.mark and self.now < meta.mark.until else None,
            admitted=variant is None or variant in meta.variants or len(meta.variants) < MAX_VARIANTS,
        )

    def read_main(self, ids: Sequence[Id], replies: Sequence[Any], tag: bytes) -> None:
        """Take up the main hash: its meta, what is found, and where writes stand."""
        for number, (field, cells) in enumerate(_fields(replies, tag)):
            if number == 0 and field is not None:
                # Of the first chunk: a write that came between two chunks voids the ticket.
                self.meta = read_meta(field)
            self._read_cells(ids[number * CHUNK_IDS : (number + 1) * CHUNK_IDS], cells)

    def read_variant(self, ids: Sequence[Id], replies: Sequence[Any], tag: bytes, name: bytes) -> None:
        """Take up a variant's hash behind the main one, of which only what concerns writes counts."""
        self.found, self.expired = {}, []
        held, marks = dict(self.held), dict(self.marks)
        for number, (_, cells) in enumerate(_fields(replies, tag)):
            # A hash that lost its place among the variants was not kept true by writes.
            if name in self.meta.variants:
                self._read_cells(ids[number * CHUNK_IDS : (number + 1) * CHUNK_IDS], cells)
        self.held, self.marks = held, marks
        for id_ in (*held, *marks):
            self.found.pop(id_, None)

    def _read_cells(self, ids: Sequence[Id], cells: Sequence[bytes | None]) -> None:
        mark, found, forms, now = self.meta.mark, self.found, PLAIN_FORMS[self.kind], round(self.now * TICKS)
        # Written out because it is nearly all that is ever read; with a mark nothing is plain.
        oldest = now - self.lifetime * TICKS if mark is None else now
        for id_, cell in zip(ids, cells, strict=True):
            if cell is None:
                continue
            if len(cell) == PLAIN_BYTES:
                head, high, low = _PLAIN.unpack(cell)
                ticks = high << 32 | low
                if _LEAST <= head <= _MOST and oldest < ticks <= now:
                    if head == _LEAST:
                        found[id_] = Found(None, (now - ticks) / TICKS)
                    else:
                        name = id_.encode()
                        found[id_] = Found(forms[head - _LEAST] % (name, name), (now - ticks) / TICKS)
                    continue
            self._read_cell(id_, cell, mark)

    def _read_cell(self, id_: Id, data: bytes, mark: PairedWrite | None) -> None:
        try:
            cell = write_rule.standing(decode(self.kind, id_, data), self.now)
        except (ValueError, LookupError):
            self.spoiled = True
            self.expired.append(id_)
            return
        if cell is None:
            return
        promised = write_rule.held(cell, self.now)
        rated = promised or cell
        if isinstance(rated, PendingWrite):
            self.marks[id_] = b"%d" % rated.stamp
            return
        age = self.now - rated.fetched_at
        if promised is not None:
            self.held[id_] = promised.resource
        elif age >= self.lifetime:
            self.expired.append(id_)
            return
        elif age < -_TOLERANCE_TICKS / TICKS:
            return
        self.found[id_] = Found(
            rated.resource,
            max(age, 0.0),
            write_rule.cap(mark, cell, self.now),
            promised is not None,
            (promised.held_until or self.now) - self.now if promised is not None else 0.0,
        )


_FORMAT = bytes((FORMAT,))
_CODES = bytes((UNRATED, LIKED, DISLIKED))
_LENGTHS = {PLAIN_BYTES}


def read_plain(
    kind: Kind, ids: Sequence[Id], reply: Sequence[bytes | None], tag: bytes, *, now: float, lifetime: float
) -> PlainLookup | None:
    """What the one reply says of the main hash, where every rating is there and plain.

    None: take it up rating by rating. Looked at together, cells cost a fifth of that. `now` and `lifetime` as
    in `Reading`.
    """
    field, *rest = reply
    if field is None or field[:TAG_BYTES] != tag:
        return None
    if not field[TAG_BYTES:].isdigit() and read_meta(field).mark is not None:
        return None
    cells = cast("list[bytes]", rest)
    try:
        joined = b"".join(cells)
    except TypeError:  # a rating is missing: cheaper to run into than to look for
        return None
    codes = joined[1::PLAIN_BYTES]
    if {*map(len, cells)} != _LENGTHS or joined[::PLAIN_BYTES].strip(_FORMAT) or codes.strip(_CODES):
        return None
    ages = _ages(joined, len(cells), round(now * TICKS))
    if min(ages) < 0 or max(ages) >= lifetime * TICKS:
        return None
    listed = _listed if len(ids) <= MEMOISED_IDS else _listed.__wrapped__
    return PlainLookup(
        listed(kind, tuple(ids), codes),
        len(codes) - codes.count(UNRATED),
        [age / TICKS for age in ages],
        partial(_in_full, kind, now, lifetime, ids, reply, tag),
    )


def _ages(cells: bytes, count: int, now: int) -> list[int]:
    """Ticks since each of so many plain cells was stored; one for all where they were stored together."""
    first, coded = cells[:PLAIN_BYTES], bytearray(cells)
    coded[1::PLAIN_BYTES] = first[1:2] * count
    if coded == first * count:
        return [now - int.from_bytes(first[2:])]
    starts = range(0, len(cells), PLAIN_BYTES)
    return [now - int.from_bytes(cells[start + 2 : start + PLAIN_BYTES]) for start in starts]


@lru_cache(maxsize=512)
def _listed(kind: Kind, ids: tuple[Id, ...], codes: bytes) -> bytes:
    forms = PLAIN_FORMS[kind]
    rated = [(forms[code], id_.encode()) for code, id_ in zip(codes, ids, strict=True) if code != UNRATED]
    return b",".join([form % (name, name) for form, name in rated])


def _in_full(
    kind: Kind, now: float, lifetime: float, ids: Sequence[Id], reply: Sequence[bytes | None], tag: bytes
) -> SharedLookup:
    reading = Reading(kind, now, lifetime)
    reading.read_main(ids, [reply], tag)
    return reading.outcome()


def _fields(replies: Sequence[Any], tag: bytes) -> list[tuple[bytes | None, list[bytes | None]]]:
    """Each chunk's meta field and cells; raises Failed where it is not the owner's."""
    fields: list[tuple[bytes | None, list[bytes | None]]] = []
    for field, *cells in replies:
        if any(cells) if field is None else field[:TAG_BYTES] != tag:
            raise Failed(FailureKind.OWNER)
        fields.append((field, cells))
    return fields
