"""The vocabulary: users, kinds of ratings, ids, and what is known of one id.

Nothing here does I/O, reads a clock or imports another part of the gateway.
"""

import hashlib
import re
from enum import Enum, StrEnum
from typing import Any, NewType

import msgspec

Id = NewType("Id", str)
"""An Apple id that was checked against its kind: 1 to 67 characters of `A-Za-z0-9._-`."""

Variant = NewType("Variant", str)
"""`extend`, `include` and `l` in normal form, as a query string without `ids`; empty for a plain read."""

PLAIN = Variant("")

Resource = bytes | None
"""One `ratings` resource as rendered JSON; None says that the id is unrated."""


class Kind(StrEnum):
    """The nine kinds of content that can be rated; the value is Apple's path segment."""

    ALBUMS = "albums"
    SONGS = "songs"
    MUSIC_VIDEOS = "music-videos"
    PLAYLISTS = "playlists"
    STATIONS = "stations"
    LIBRARY_ALBUMS = "library-albums"
    LIBRARY_SONGS = "library-songs"
    LIBRARY_PLAYLISTS = "library-playlists"
    LIBRARY_MUSIC_VIDEOS = "library-music-videos"

    # Enum's own is written in Python, and kinds are part of most keys.
    __hash__ = str.__hash__

    def admits(self, text: str) -> bool:
        """Whether `text` can be an id of this kind (permissive: Apple documents no grammar)."""
        return _ID_FORMS[self].fullmatch(text) is not None

    @property
    def id_pattern(self) -> str:
        """Regular expression that the whole of an id must match."""
        return _ID_FORMS[self].pattern

    @property
    def paired(self) -> "Kind | None":
        """The kind that Apple keeps in step with this one (catalog and library); stations have none."""
        return _PAIRED.get(self)


_TAIL = r"[A-Za-z0-9._-]{1,64}"
_DIGITS = r"[0-9]{1,20}"
_ID_FORMS = {
    kind: re.compile(form)
    for kind, form in {
        Kind.ALBUMS: _DIGITS,
        Kind.SONGS: _DIGITS,
        Kind.MUSIC_VIDEOS: _DIGITS,
        Kind.PLAYLISTS: r"pl\." + _TAIL,
        Kind.STATIONS: r"ra\." + _TAIL,
        Kind.LIBRARY_ALBUMS: r"l\." + _TAIL,
        Kind.LIBRARY_SONGS: r"i\." + _TAIL,
        Kind.LIBRARY_PLAYLISTS: r"p\." + _TAIL,
        Kind.LIBRARY_MUSIC_VIDEOS: r"i\." + _TAIL,
    }.items()
}
_PAIRED = {
    kind: paired
    for kind in Kind
    for paired in Kind
    if "library-" + kind == paired or "library-" + paired == kind
}


_SHA_256 = hashlib.sha256()


class User(msgspec.Struct, frozen=True):
    """Whoever holds a Music User Token: the token for Apple, its digest for everything kept or shown."""

    token: str
    key: bytes
    """The first 16 bytes of the token's SHA-256; the only trace of the token that may be kept."""

    @classmethod
    def of(cls, token: str) -> "User":
        # A hash object made anew, not copied, costs a local hit 4 % more.
        digest = _SHA_256.copy()
        digest.update(token.encode())
        return cls(token, digest.digest()[:16])

    @property
    def label(self) -> str:
        """8 hex digits for log lines."""
        return self.key[:4].hex()

    def __repr__(self) -> str:
        return f"User({self.label})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Also where rich shows it, in a traceback for one."""
        return [("label", self.label)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, User) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


class Partition(msgspec.Struct, frozen=True):
    """One user's ratings of one kind in one variant: the unit that is cached, batched and fetched."""

    user: User
    kind: Kind
    variant: Variant = PLAIN

    @property
    def key(self) -> "PartitionKey":
        """What stands for the partition in tables: no user token in it."""
        return (self.user.key, self.kind, self.variant)


PartitionKey = tuple[bytes, Kind, Variant]


class Priority(Enum):
    """Who waits for a call: somebody (foreground), or nobody yet (background refreshes)."""

    FOREGROUND = 0
    BACKGROUND = 1


def plain_resource(kind: Kind, id_: Id, value: int) -> bytes:
    """A resource that holds nothing but its rating (1 or -1), as Apple renders it."""
    return b'{"id":"%b","type":"ratings","href":"/v1/me/ratings/%b/%b","attributes":{"value":%d}}' % (
        id_.encode(),
        kind.encode(),
        id_.encode(),
        value,
    )
