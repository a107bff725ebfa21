"""Announcements of written ratings, after which every gateway checks that it serves no older rating.

They travel on a channel of their own: a gateway of an older release would reject an unknown message on the
channel of invalidations, and drop its local trust each time. Times are microseconds of Redis' clock.
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import Protocol

import msgspec

from gateway.model import Id, Kind, Rating, value_of

DIGEST_BYTES = 8


class Announcement(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A rating that was written and is held. Redis appends `version` and `published` when it publishes."""

    origin: str
    user: bytes
    kind: Kind
    id: Id
    digest: bytes
    """Of the value written: see `value_digest`."""
    hold_seconds: float
    """How long the written rating outranks what Apple reports."""
    begun: int = 0
    """When Redis recorded that the write was about to be sent."""
    version: int = 0
    """Write version of the user and type after the write: larger if anything was written since."""
    published: int = 0
    """0: Redis did not confirm the write."""


class OnAnnouncement(Protocol):
    """Receives announcements, those of this gateway included. Called on the event loop; must not block."""

    def __call__(self, announcement: Announcement, /, *, age: float, own: bool) -> None:
        """Check the write. `age`: seconds since its publication, by Redis' clock; 0 if not measured.

        `own`: it was written through this gateway, which has it from Redis' reply.
        """
        ...


Sampled = Callable[[], bool]
"""Draw whether a write is announced."""

_decoder = msgspec.json.Decoder(Announcement)


def encode_announcement(announcement: Announcement) -> bytes:
    """Return the JSON object to which Redis appends version and time."""
    return msgspec.json.encode(announcement)


def decode_announcement(data: bytes) -> Announcement:
    """Parse an announcement. Raises msgspec.DecodeError."""
    return _decoder.decode(data)


def value_digest(user_key: bytes, kind: Kind, id_: Id, rating: Rating) -> bytes:
    """Return a digest of the rating's value (1, -1 or unrated), which is the same in every variant."""
    rated = f"{kind}/{id_}/{value_of(rating)}"
    return blake2b(rated.encode(), digest_size=DIGEST_BYTES, key=user_key).digest()
