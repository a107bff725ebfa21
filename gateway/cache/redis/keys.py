"""Redis keys, and the field of each hash that says whose it is and what was written around it.

    {namespace}:{<user key>}:<kind>             the plain ratings of a user and kind, and `.`: tag and meta
    {namespace}:{<user key>}:<kind>:<variant>   the same ratings in a variant, and `.`: its tag

The braces around the user key are literal: on a cluster all of a user lies in one slot. Meta is ASCII, parted
by blanks: the version, then the twin mark's stamp, at and until (ticks), then the names of the variants kept.
"""

from functools import lru_cache
from hashlib import blake2b

import msgspec

from gateway.cache.redis.errors import Failed, FailureKind
from gateway.cache.write_rule import PairedWrite
from gateway.model import PLAIN, Kind, Variant

META = "."
"""A field that no id can be: ids of one character are digits."""

TICKS = 100
"""Ticks in a second: times in Redis are counted in 10 ms since 1970, by Redis' own TIME."""

TAG_BYTES = 8
MAX_VARIANTS = 8


class Meta(msgspec.Struct, frozen=True):
    """What a main hash says of its user and kind besides the ratings."""

    version: bytes = b"0"
    mark: PairedWrite | None = None
    variants: tuple[bytes, ...] = ()


NOTHING = Meta()
"""What a missing hash says."""


class Keys:
    """Names everything that one namespace has in Redis."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self.channel = f"{namespace}:news"

    def main(self, user_key: bytes, kind: Kind) -> str:
        return f"{self._namespace}:{{{user_key.hex()}}}:{kind}"

    def beat(self, gateway_id: str) -> str:
        """The channel on which a gateway hears itself."""
        return f"{self._namespace}:beat:{gateway_id}"


def variant_name(variant: Variant) -> str:
    """A variant's name in keys: a digest, because a variant may be as long as a request line."""
    return blake2b(variant.encode(), digest_size=8).hexdigest()


@lru_cache(maxsize=4096)
def owner_tag(user_key: bytes, kind: Kind, variant: Variant = PLAIN) -> bytes:
    """What a hash must begin its meta with: a reply without it is somebody else's."""
    return blake2b(f"{kind}?{variant}".encode(), digest_size=TAG_BYTES, key=user_key).digest()


def read_meta(field: bytes) -> Meta:
    """Meta behind the tag. Raises Failed where there is no version, ValueError where the rest is none."""
    version, *rest = field[TAG_BYTES:].split(b" ")
    if not version.isdigit():
        raise Failed(FailureKind.OWNER)
    if not rest:
        return Meta(version)
    stamp, at, until, *variants = rest
    mark = PairedWrite(int(stamp), int(at) / TICKS, int(until) / TICKS) if stamp != b"0" else None
    return Meta(version, mark, tuple(variants))
