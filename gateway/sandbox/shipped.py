"""Users, ratings and catalog/library pairs of a new sandbox.

| token                       | label        | purpose                                                       |
| --------------------------- | ------------ | ------------------------------------------------------------- |
| `sandbox-user-ada`          | ada          | ratings of every type; the two albums of Apple's example      |
| `sandbox-user-ben`          | ben          | other ratings of the same ids, to detect mix-ups              |
| `sandbox-user-cleo`         | cleo         | nothing rated                                                 |
| `sandbox-user-revoked`      | revoked      | 403 `40300`                                                   |
| `sandbox-user-unsubscribed` | unsubscribed | 400 `40015`                                                   |
"""

from gateway.model import Kind
from gateway.sandbox.store import RatingStore, Standing

ADA = "sandbox-user-ada"
BEN = "sandbox-user-ben"
CLEO = "sandbox-user-cleo"
REVOKED = "sandbox-user-revoked"
UNSUBSCRIBED = "sandbox-user-unsubscribed"

PAIRS = (
    (Kind.ALBUMS, "1138988512", "l.sandbox1"),
    (Kind.ALBUMS, "475655712", "l.sandbox2"),
    (Kind.ALBUMS, "700000001", "l.sandbox3"),
    (Kind.SONGS, "900000001", "i.sandbox1"),
    (Kind.SONGS, "900000002", "i.sandbox2"),
    (Kind.MUSIC_VIDEOS, "800000001", "i.sandbox8"),
    (Kind.PLAYLISTS, "pl.sandboxmorning", "p.sandbox1"),
)
"""Catalog kind, catalog id, library id: rating one rates the other."""

_RATINGS = {
    ADA: {
        Kind.ALBUMS: {"1138988512": 1, "475655712": 1, "700000001": -1},
        Kind.SONGS: {"900000001": 1, "900000002": -1},
        Kind.MUSIC_VIDEOS: {"800000001": 1},
        Kind.PLAYLISTS: {"pl.sandboxmorning": 1, "pl.u-sandboxevening": -1},
        Kind.STATIONS: {"ra.600000001": 1},
        Kind.LIBRARY_ALBUMS: {"l.sandboxown": 1},
        Kind.LIBRARY_SONGS: {"i.sandboxown": -1},
        Kind.LIBRARY_PLAYLISTS: {"p.sandboxown": 1},
        Kind.LIBRARY_MUSIC_VIDEOS: {"i.sandboxownvideo": 1},
    },
    BEN: {
        Kind.ALBUMS: {"1138988512": -1, "700000001": 1},
        Kind.SONGS: {"900000001": -1},
    },
}


def stock(store: RatingStore) -> None:
    """Fill an empty store with the users, ratings and pairs above."""
    for kind, catalog_id, library_id in PAIRS:
        store.pair(kind, catalog_id, library_id)
    for token in (ADA, BEN, CLEO):
        store.add_user(token, ratings=_RATINGS.get(token))
    store.add_user(REVOKED, standing=Standing.REVOKED)
    store.add_user(UNSUBSCRIBED, standing=Standing.UNSUBSCRIBED)
