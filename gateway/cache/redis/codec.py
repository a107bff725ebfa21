"""A rating, or a write of open outcome, as the bytes of one hash field: plain ratings take seven.

    byte 0     format (an unknown one is a miss)
    byte 1     content: 0 unrated, 1 liked, 2 disliked, 3 JSON, 4 unsettled; + 128 where there is a hold
    bytes 2-6  ticks: when it was stored (unsettled: its term)
    rated      [5 bytes of ticks: the hold's end] [JSON]
    unsettled  1 byte writers, 1 byte contested, 7 bytes stamp, [the held rating of before]

Numbers are big-endian. Scripts add format and times; what a rating says is encoded here alone.
"""

from typing import Literal

import msgspec

from gateway.cache.redis.keys import TICKS
from gateway.cache.write_rule import PendingWrite, Record, StoredRating
from gateway.model import Id, Kind, Resource, plain_resource

FORMAT = 1
UNRATED, LIKED, DISLIKED, JSON, UNSETTLED = range(5)
HOLD = 128
PLAIN_BYTES = 7
_HELD_BYTES = 12
_UNSETTLED_BYTES = 16
_VALUES = {LIKED: 1, DISLIKED: -1}
PLAIN_FORMS: dict[Kind, tuple[bytes, ...]] = {
    kind: (b"", *(plain_resource(kind, Id("%b"), value) for value in _VALUES.values())) for kind in Kind
}
"""By kind and content byte: a plain resource with two places for the id."""


class _Value(msgspec.Struct):
    value: Literal[1, -1]


class _Rating(msgspec.Struct):
    """What makes a resource one, whatever else it says."""

    id: str
    type: Literal["ratings"]
    attributes: _Value


_rating = msgspec.json.Decoder(_Rating)


def content(kind: Kind, id_: Id, resource: Resource) -> bytes:
    """The content byte, and the JSON where the resource says more than its rating."""
    if resource is None:
        return bytes((UNRATED,))
    for code, value in _VALUES.items():
        plain = plain_resource(kind, id_, value)
        if resource == plain or (len(resource) < 2 * len(plain) and _same(resource, plain)):
            return bytes((code,))
    return bytes((JSON,)) + resource


def _same(one: bytes, other: bytes) -> bool:
    # Strict: True and 1.0 equal 1 in Python, and would come back as 1.
    return _canonical(one) == _canonical(other)


def _canonical(resource: bytes) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(resource), order="deterministic")


def decode(kind: Kind, id_: Id, data: bytes) -> Record:
    """What a field says, in seconds of Redis' time; None where its format is unknown.

    Raises IndexError or ValueError where it was cut or is otherwise no cell.
    """
    if data[0] != FORMAT:
        return None
    if len(data) < _least_bytes(data[1]):
        raise ValueError("a cell cut short")
    if data[1] == UNSETTLED:
        rest = data[_UNSETTLED_BYTES:]
        before = decode(kind, id_, rest) if rest else None
        return PendingWrite(
            stamp=int.from_bytes(data[9:16]),
            writers=data[7],
            contested=bool(data[8]),
            until=int.from_bytes(data[2:7]) / TICKS,
            held=before if isinstance(before, StoredRating) else None,
        )
    held = bool(data[1] & HOLD)
    fetched_at = int.from_bytes(data[2:7]) / TICKS
    held_until = int.from_bytes(data[7:12]) / TICKS if held else None
    return StoredRating(
        _resource(kind, id_, data[1] & ~HOLD, data[_HELD_BYTES if held else PLAIN_BYTES :]),
        fetched_at,
        held_until,
    )


def _least_bytes(code: int) -> int:
    if code == UNSETTLED:
        return _UNSETTLED_BYTES
    return _HELD_BYTES if code & HOLD else PLAIN_BYTES


def _resource(kind: Kind, id_: Id, code: int, rest: bytes) -> Resource:
    if code == JSON:
        return _sound(id_, rest)
    if rest or code not in {UNRATED, *_VALUES}:
        raise ValueError("a plain cell of no known content, or with a tail")
    return None if code == UNRATED else plain_resource(kind, id_, _VALUES[code])


def _sound(id_: Id, resource: bytes) -> bytes:
    """JSON that goes into answers as it is: let nothing through that would spoil them."""
    resource.decode()  # the decoder skips fields without a look at their encoding
    try:
        named = _rating.decode(resource).id
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if named != id_:
        raise ValueError("a rating of something else")
    return resource
