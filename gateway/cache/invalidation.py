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


class DropPaired(msgspec.Struct, frozen=True, tag="twin"):
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


Invalidation = Drop | DropPaired | Purge | Throttled


class OnInvalidation(Protocol):
    """Whoever acts on news from other gateways; called on the event loop, must not block or raise."""

    def __call__(self, news: Invalidation) -> None: ...


class Message(msgspec.Struct, frozen=True):
    """What is published at once, and by which gateway: who hears its own lets it be."""

    origin: str
    news: tuple[Invalidation, ...]


_decoder = msgspec.json.Decoder(Message)


def encode_message(origin: str, *news: Invalidation) -> bytes:
    """As it goes over the wire."""
    return msgspec.json.encode(Message(origin, news))


def decode_message(data: bytes) -> Message:
    """From the wire; raises msgspec.DecodeError, of which ValidationError is one."""
    return _decoder.decode(data)


class Continuity:
    """Since when news has been coming in without a gap, proved by a beat that the gateway sends to itself.

    Pure: times are monotonic seconds given by the caller. `trust` is how long entries are believed unproved.
    """

    def __init__(self, trust: float) -> None:
        self._trust = trust
        self._continuous_since = float("inf")
        self._last_heard = float("-inf")

    def subscribed(self, now: float) -> None:
        """A new subscription stands: what was published before it may have been missed."""
        self._continuous_since = now
        self._last_heard = float("-inf")

    def heard(self, sent_at: float, now: float) -> None:
        """The beat sent at `sent_at` came back: all news from before it has come in."""
        if sent_at > self._last_heard + self._trust > float("-inf"):
            self._continuous_since = now
        self._last_heard = max(self._last_heard, sent_at)

    def up(self, now: float) -> bool:
        """Whether news is coming in."""
        return now <= self._last_heard + self._trust

    def believed_since(self, now: float) -> float:
        """Entries that came into this process before that moment are not believed without asking Redis."""
        if self.up(now):
            return min(self._continuous_since, now - self._trust)
        return now - self._trust
