"""The developer token: an ES256 JWT that identifies the company to Apple.

`SigningKey` and `mint` are pure; `TokenSource` holds the one token that every call uses. A signature costs
about 40 µs, so it is made when needed, without a task or a lock.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Self

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.apple.clock_skew import ClockSkew
from gateway.apple.signing_key import LONGEST_LIFETIME, pem_of, read_private_key
from gateway.clock import Clock
from gateway.telemetry.metrics import Metrics

DATED_BACK: Final = 60
"""Seconds by which a token is dated back: Apple refuses one that was issued in its future."""

RENEW_AFTER: Final = 0.8
"""The part of its lifetime after which a token is replaced."""

REFUSED_INTERVAL: Final = 30.0
"""Least seconds between two tokens minted because Apple refused one."""

LOOK_SECONDS: Final = 15.0
"""Between two checks of the token of a gateway that makes no calls; its expiry is watched by an alert."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The company's MusicKit key and what goes into its tokens. Equal if the tokens would be."""

    team_id: str
    key_id: str
    lifetime_seconds: int
    origin: str | None
    pem: str = field(repr=False)
    private_key: ec.EllipticCurvePrivateKey = field(repr=False, compare=False)

    @classmethod
    def parse(
        cls, *, team_id: str, key_id: str, private_key: str, lifetime_seconds: int, origin: str | None = None
    ) -> Self:
        """Check everything that can be checked here; `private_key` is a `.p8` file's text.

        Raises `ValueError` with a text for the operator, which never holds any of the key.
        """
        if not team_id.strip() or not key_id.strip():
            raise ValueError("a developer token needs both a team id and a key id")
        if not 0 < lifetime_seconds <= LONGEST_LIFETIME:
            raise ValueError(f"a developer token lives at least 1 and at most {LONGEST_LIFETIME:,} seconds")
        key = read_private_key(private_key)
        return cls(team_id.strip(), key_id.strip(), lifetime_seconds, origin, pem_of(key), key)


@dataclass(frozen=True, slots=True)
class DeveloperToken:
    """A minted token; times in epoch seconds."""

    text: str = field(repr=False)
    issued_at: int
    expires_at: int

    def serves(self, now: float) -> bool:
        """Whether it need not be replaced yet; false also if the clock was set back before its issue."""
        renewed_at = self.issued_at + RENEW_AFTER * (self.expires_at - self.issued_at)
        return self.issued_at <= now < renewed_at


def mint(key: SigningKey, now: float) -> DeveloperToken:
    """Sign a token at `now` (epoch seconds), dated back by a minute, or by half of a shorter lifetime."""
    issued_at = int(now) - min(DATED_BACK, key.lifetime_seconds // 2)
    expires_at = issued_at + key.lifetime_seconds
    claims: dict[str, Any] = {"iss": key.team_id, "iat": issued_at, "exp": expires_at}
    if key.origin is not None:
        claims["origin"] = [key.origin]
    text = jwt.encode(claims, key.private_key, algorithm="ES256", headers={"kid": key.key_id})
    return DeveloperToken(text, issued_at, expires_at)


OnTokenChange = Callable[[str, str], None]
"""Called with what happened to the token (`minted`, `refused`, `accepted`) and why, once each time."""


class TokenSource:
    """The one developer token in use: replaced well before its end, and when Apple refuses it.

    It is dated by our clock, or by Apple's if the two differ by more than 30 s.
    """

    def __init__(
        self, key: SigningKey, clock: Clock, metrics: Metrics, on_change: OnTokenChange = lambda *_: None
    ) -> None:
        self._key = key
        self._clock = clock
        self._on_change = on_change
        self._mints = metrics.developer_token_mints
        self._expiry = metrics.developer_token_expiry
        self._skew_gauge = metrics.apple_clock_skew
        self._skew = ClockSkew()
        self._refusal_minted_at = float("-inf")
        self.refused = False
        """Whether Apple refused the token in its latest answer."""
        self._token = self._mint("start")

    @property
    def apples_clock_ahead(self) -> float:
        """Seconds by which Apple's clock is ahead of ours; negative if it is behind."""
        return self._skew.seconds

    def current(self) -> DeveloperToken:
        """The token to send now."""
        if not self._token.serves(self._time()):
            self._token = self._mint("renewal")
        return self._token

    def observe(self, date: float, now: float) -> None:
        """An answer of Apple's was dated `date` when our clock showed `now` (epoch seconds)."""
        self._skew.observe(date, now)
        self._skew_gauge.set(self._skew.seconds)

    def accept(self, text: str) -> None:
        """Apple accepted this token."""
        if self.refused and text == self._token.text:
            self.refused = False
            self._on_change("accepted", "Apple accepts the developer token again")

    def refuse(self, text: str) -> bool:
        """Apple refused this token; return whether there is another by now, to try instead.

        Only the first of many calls that were refused together mints: the others get what it minted.
        """
        if self._token.text != text:
            return True
        if not self.refused:
            self.refused = True
            self._on_change("refused", "Apple answered 401 to the developer token")
        now = self._clock.monotonic()
        if now - self._refusal_minted_at < REFUSED_INTERVAL:
            return False
        self._refusal_minted_at = now
        self._token = self._mint("refused")
        return True

    def replace(self, key: SigningKey) -> None:
        """Sign with another key from now on."""
        if key != self._key:
            self._key = key
            self._token = self._mint("key")

    async def keep(self) -> None:
        """Replace the token when it is due even if no call is made, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.current()

    def _time(self) -> float:
        return self._clock.time() + self._skew.correction

    def _mint(self, reason: str) -> DeveloperToken:
        token = mint(self._key, self._time())
        self._mints.labels(reason).inc()
        self._expiry.set(token.expires_at)
        self._on_change("minted", reason)
        return token
