"""What Redis keeps: its keys, the meta field of each hash (owner, write version, recent writes), and limits.

    {namespace}:{<user key>}:<type>             the plain ratings of a user and type, and `.`: tag and meta
    {namespace}:{<user key>}:<type>:<variant>   the same ratings in a variant, and `.`: its tag

The braces around the user key are literal: in a cluster, all of a user's keys are in one slot. Meta is ASCII,
separated by blanks: the version, then stamp, at and until (ticks) of the latest write on the paired type,
then the names of the cached variants.
"""

from functools import lru_cache
from hashlib import blake2b

import msgspec

from gateway.cache.entry import Freshness
from gateway.cache.redis.errors import FailureKind, RedisFailed
from gateway.cache.write_rule import PairedWrite
from gateway.model import PLAIN, Kind, Variant

META = "."
"""Name of the meta field. No id has it: ids of one character are digits."""

TICKS = 100
"""Ticks per second: times in Redis are in units of 10 ms since 1970, by Redis' TIME."""

TAG_BYTES = 8


class Meta(msgspec.Struct, frozen=True):
    """The meta field of a main hash."""

    version: bytes = b"0"
    paired: PairedWrite | None = None
    variants: tuple[bytes, ...] = ()


NOTHING = Meta()
"""The meta of a missing hash."""


class Keys:
    """Names of the keys and channels of one namespace."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self.channel = f"{namespace}:news"
        self.announcements = f"{namespace}:written"

    def main(self, user_key: bytes, kind: Kind) -> str:
        return f"{self._namespace}:{{{user_key.hex()}}}:{kind}"

    def beat(self, gateway_id: str) -> str:
        """The channel of a gateway's own heartbeat."""
        return f"{self._namespace}:beat:{gateway_id}"


def variant_name(variant: Variant) -> str:
    """Return a variant's name in keys: a digest, because a variant may have 2,048 characters."""
    return blake2b(variant.encode(), digest_size=8).hexdigest()


@lru_cache(maxsize=4096)
def owner_tag(user_key: bytes, kind: Kind, variant: Variant = PLAIN) -> bytes:
    """Return the tag with which a hash's meta begins: a reply without it belongs to another user."""
    return blake2b(f"{kind}?{variant}".encode(), digest_size=TAG_BYTES, key=user_key).digest()


def read_meta(field: bytes) -> Meta:
    """Decode the meta behind the tag. Raises RedisFailed without a version, ValueError if invalid."""
    version, *rest = field[TAG_BYTES:].split(b" ")
    if not version.isdigit():
        raise RedisFailed(FailureKind.OWNER)
    if not rest:
        return Meta(version)
    stamp, at, until, *variants = rest
    paired = PairedWrite(int(stamp), int(at) / TICKS, int(until) / TICKS) if stamp != b"0" else None
    return Meta(version, paired, tuple(variants))


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the Redis tier; times in seconds."""

    freshness: Freshness
    hold_seconds: float
    """How long a written rating outranks what Apple reports."""
    longest_write_seconds: float
    """No pending write counts for longer than this."""
    lookup_seconds: float
    """A lookup past it, counted from when its bytes are sent, is a miss."""
    trust_seconds: float
    """How long entries in memory are trusted without proof that invalidations arrive."""
    max_ratings_per_user: int
    """Most ratings per user and type; the oldest are dropped first."""

    @property
    def key_milliseconds(self) -> int:
        """How long a hash outlives its last change: longer than anything in it, and than any fetch."""
        longest = max(self.freshness.lifetime_seconds, self.longest_write_seconds + self.hold_seconds)
        return round(1000 * (60 + longest))
