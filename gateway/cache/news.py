"""What gateways tell each other through Redis' publish/subscribe, and how long that lets local entries stand.

Messages and belief only: who sends and hears them over the wire is `shared.listener`'s business. News is not
acknowledged and may be lost, so it only ever makes gateways forget sooner than `local_trust_seconds` would.
"""

from typing import Protocol

import msgspec

from gateway.model import Id, Kind


class Drop(msgspec.Struct, frozen=True, tag="drop"):
    """A write touched these ids of one user and kind: forget them in every variant."""

    user: bytes
    kind: Kind
    ids: tuple[Id, ...]


class Twin(msgspec.Struct, frozen=True, tag="twin"):
    """A write touched the twin of `kind`: serve none of the user's entries of `kind` without asking."""

    user: bytes
    kind: Kind


class Purge(msgspec.Struct, frozen=True, tag="purge"):
    """An operator dropped a user's ratings: of one kind or of all, these ids or all."""

    user: bytes
    kind: Kind | None = None
    ids: tuple[Id, ...] | None = None


class Throttled(msgspec.Struct, frozen=True, tag="throttled"):
    """Apple answered 429 to a gateway and asked for `seconds` (from the moment of hearing) of peace."""

    seconds: float


News = Drop | Twin | Purge | Throttled


class Hears(Protocol):
    """Whoever acts on news from other gateways; called on the event loop, must not block or raise."""

    def __call__(self, news: News) -> None: ...
