"""Encodes a stored rating or a pending write as the bytes of one hash field: a plain rating takes seven.

    byte 0     format (an unknown one is a miss)
    byte 1     content: 0 unrated, 1 liked, 2 disliked, 3 JSON, 4 pending write; + 128 if there is a hold
    bytes 2-6  ticks: when it was stored (pending write: when its term ends)
    stored     [5 bytes of ticks: the end of the hold] [JSON]
    pending    1 byte writers, 1 byte contested, 7 bytes stamp, [the rating held before it]

Numbers are big-endian. The scripts add format and times; only this module encodes ratings.
"""

from typing import Final, Literal

import msgspec

from gateway.cache.redis.keys import TICKS
from gateway.cache.write_rule import PendingWrite, Record, StoredRating
from gateway.json_depth import check_depth
from gateway.model import Id, Rating

FORMAT: Final = 1
UNRATED, LIKED, DISLIKED, JSON, PENDING = range(5)
HOLD: Final = 128
PLAIN_BYTES: Final = 7
_HELD_BYTES: Final = 12
_PENDING_BYTES: Final = 16
PLAIN_RATINGS: Final[dict[int, Rating]] = {UNRATED: None, LIKED: 1, DISLIKED: -1}
_CODES: Final[dict[Rating, bytes]] = {rating: bytes((code,)) for code, rating in PLAIN_RATINGS.items()}


class _Value(msgspec.Struct):
    value: Literal[1, -1]


class _Resource(msgspec.Struct):
    """What every resource must have, besides any other fields."""

    id: str
    type: Literal["ratings"]
    attributes: _Value


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
            contested=bool(field[8]),
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
