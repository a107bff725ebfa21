"""The vocabulary: users, rating types, ids, partitions and ratings.

Nothing here does I/O, reads a clock or imports another part of the gateway.
"""

import hashlib
import re
from enum import Enum, StrEnum
from typing import Any, Final, NewType

import msgspec

Id = NewType("Id", str)
"""An Apple id that is valid for its type: 1 to 67 characters of `A-Za-z0-9._-`."""

Variant = NewType("Variant", str)
"""A read's parameters besides `ids`: `extend`, `include` and `l` in normal form, then others as they came, in
one query string; empty for a plain read."""

PLAIN = Variant("")

MAX_VARIANTS: Final = 8
"""Variants of one user and type that are cached beside the plain one."""
LONGEST_VARIANT: Final = 2048
"""Characters of a variant that is cached."""

NORMALISED: Final = ("extend", "include", "l")
"""Query parameters with a documented meaning, so that all their spellings are one variant."""


def has_other_parameters(variant: Variant) -> bool:
    """Whether `variant` has parameters whose meaning only Apple defines; a repeated `l` is one of them."""
    if variant == PLAIN:
        return False
    names = [parameter.partition("=")[0] for parameter in variant.split("&")]
    return len(set(names)) < len(names) or not set(names).issubset(NORMALISED)


Rating = int | bytes | None
"""A rating as Apple reports it: 1 (like), -1 (dislike), None (unrated), or JSON with more fields."""


class Kind(StrEnum):
    """The nine kinds of content that can be rated; the value is Apple's path segment.

    The API and the documents call it *type*.
    """

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
    def id_prefix(self) -> str:
        """What every id of this kind begins with; empty if ids are numbers."""
        return _ID_PREFIXES.get(self, "")

    @property
    def paired(self) -> "Kind | None":
        """The kind that Apple keeps in step with this one (catalog and library); stations have none."""
        return _PAIRED.get(self)


_TAIL = r"[A-Za-z0-9._-]{1,64}"
_DIGITS = r"[0-9]{1,20}"
_ID_PREFIXES = {
    Kind.PLAYLISTS: "pl.",
    Kind.STATIONS: "ra.",
    Kind.LIBRARY_ALBUMS: "l.",
    Kind.LIBRARY_SONGS: "i.",
    Kind.LIBRARY_PLAYLISTS: "p.",
    Kind.LIBRARY_MUSIC_VIDEOS: "i.",
}
_ID_FORMS = {
    kind: re.compile(re.escape(kind.id_prefix) + _TAIL if kind.id_prefix else _DIGITS) for kind in Kind
}
_PAIRED = {
    kind: paired
    for kind in Kind
    for paired in Kind
    if "library-" + kind == paired or "library-" + paired == kind
}


_SHA_256 = hashlib.sha256()


class User(msgspec.Struct, frozen=True):
    """A user, as one Music User Token: the token for Apple, its digest for everything stored or shown."""

    token: str
    key: bytes
    """The first 16 bytes of the token's SHA-256; the only trace of the token that may be kept."""

    @classmethod
    def of(cls, token: str) -> "User":
        # Copying a hash object is cheaper than creating one: 4 % of a cache hit.
        digest = _SHA_256.copy()
        digest.update(token.encode())
        return cls(token, digest.digest()[:16])

    @classmethod
    def of_key(cls, key: bytes) -> "User":
        """A user whose token is unknown: no call to Apple can be made for it."""
        return cls("", key)

    @property
    def label(self) -> str:
        """8 hex digits for log lines."""
        return self.key[:4].hex()

    def __repr__(self) -> str:
        return f"User({self.label})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Keep the token out of tracebacks rendered by rich."""
        return [("label", self.label)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, User) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


UserKind = tuple[bytes, Kind]
"""The key of a user, and a type: what a write, a purge or an eviction affects, in every variant."""


class Partition(msgspec.Struct, frozen=True):
    """One user's ratings of one type in one variant: the unit of caching and batching."""

    user: User
    kind: Kind
    variant: Variant = PLAIN

    @property
    def user_kind(self) -> UserKind:
        """What a write of the partition affects. The path of a memory hit builds it itself: it is cheaper."""
        return (self.user.key, self.kind)

    @property
    def key(self) -> "PartitionKey":
        """The partition as a dictionary key, without the user token."""
        return (self.user.key, self.kind, self.variant)


PartitionKey = tuple[bytes, Kind, Variant]


class Priority(Enum):
    """Whether a request waits for the call (foreground) or not (background refreshes)."""

    FOREGROUND = 0
    BACKGROUND = 1


RATINGS_PATH: Final = "/v1/me/ratings"
FAVORITES_PATH: Final = "/v1/me/favorites"


def ratings_path(kind: Kind, id_: Id | None = None) -> str:
    """The path of Apple's API for the ratings of a type, or for one rating."""
    return f"{RATINGS_PATH}/{kind}" if id_ is None else f"{RATINGS_PATH}/{kind}/{id_}"


def plain_resource(kind: Kind, id_: Id, value: int) -> bytes:
    """Render a resource that has no field but its rating (1 or -1), as Apple does."""
    href = f"{RATINGS_PATH}/{kind}/{id_}"  # a call of `ratings_path` would cost a tenth of this
    return f'{{"id":"{id_}","type":"ratings","href":"{href}","attributes":{{"value":{value}}}}}'.encode()


def value_of(rating: Rating) -> int | None:
    """Return 1 or -1; None if unrated."""
    if not isinstance(rating, bytes):
        return rating
    value: int = msgspec.json.decode(rating)["attributes"]["value"]
    return value
