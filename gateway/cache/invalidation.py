"""Invalidation messages between gateways, and how long local entries are trusted because of them. No I/O.

Redis does not acknowledge publications, and they may be lost. An invalidation therefore only makes a gateway
drop an entry earlier than `local_trust_seconds` would.
"""

from typing import Protocol

import msgspec

from gateway.model import Id, Kind


class Drop(msgspec.Struct, frozen=True, tag="drop"):
    """These ids of one user and type were written: drop them in every variant."""

    user: bytes
    kind: Kind
    ids: tuple[Id, ...]


class DropPaired(msgspec.Struct, frozen=True, tag="twin"):
    """The type paired with `kind` was written: refetch the user's entries of `kind` before serving them."""

    user: bytes
    kind: Kind


class Purge(msgspec.Struct, frozen=True, tag="purge"):
    """A user's ratings were purged: of one type or of all, these ids or all."""

    user: bytes
    kind: Kind | None = None
    ids: tuple[Id, ...] | None = None


class Throttled(msgspec.Struct, frozen=True, tag="throttled"):
    """Apple answered 429 to a gateway: no calls for `seconds`, counted from when this is received."""

    seconds: float


Invalidation = Drop | DropPaired | Purge | Throttled


class OnInvalidation(Protocol):
    """Acts on an invalidation from another gateway. Called on the event loop; must not block or raise."""

    def __call__(self, invalidation: Invalidation, /) -> None: ...


class Message(msgspec.Struct, frozen=True):
    """One publication. `origin` is the gateway that sent it; a gateway ignores its own."""

    origin: str
    news: tuple[Invalidation, ...]


_decoder = msgspec.json.Decoder(Message)


def encode_message(origin: str, *news: Invalidation) -> bytes:
    """The bytes to publish."""
    return msgspec.json.encode(Message(origin, news))


def decode_message(data: bytes) -> Message:
    """Parse a publication. Raises msgspec.DecodeError."""
    return _decoder.decode(data)


class Continuity:
    """Since when the subscription has been free of gaps, proved by heartbeats that a gateway sends itself.

    Pure: times are monotonic seconds given by the caller. `trust` is how long entries are trusted unproved.
    """

    def __init__(self, trust: float) -> None:
        self._trust = trust
        self._continuous_since = float("inf")
        self._last_beat = float("-inf")
        self._distrusted_before = float("-inf")

    def subscribed(self, now: float) -> None:
        """A new subscription stands: anything published before it may have been missed."""
        self._continuous_since = now
        self._last_beat = float("-inf")

    def beat_received(self, sent_at: float, now: float) -> None:
        """The heartbeat sent at `sent_at` came back: everything published before it has arrived."""
        if sent_at > self._last_beat + self._trust > float("-inf"):
            self._continuous_since = now
        self._last_beat = max(self._last_beat, sent_at)

    def distrust_before(self, now: float) -> None:
        """Trust nothing from before `now`: invalidations came from another server until then."""
        self._distrusted_before = now
        self._continuous_since = float("inf")
        self._last_beat = float("-inf")

    def up(self, now: float) -> bool:
        """Whether invalidations arrive."""
        return now <= self._last_beat + self._trust

    def trusted_since(self, now: float) -> float:
        """Entries older than this may have missed an invalidation: they need a look at Redis."""
        since = now - self._trust
        if self.up(now):
            since = min(self._continuous_since, since)
        return max(since, self._distrusted_before)
