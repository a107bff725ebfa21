"""The developer token: an ES256 JWT that stands for the company at Apple.

`SigningKey` and `mint` are pure; `TokenSource` holds the one token that every call uses. A signature costs
about 40 µs, so it is made where it is needed, without a task or a lock.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final, Self

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.clock import Clock
from gateway.telemetry.metrics import Metrics

LONGEST_LIFETIME: Final = 15_552_000
"""180 days in seconds. Apple documents half a year, and once refused a token of exactly that."""

RENEW_AFTER: Final = 0.8
"""The part of its lifetime after which a token is replaced."""

REFUSED_INTERVAL: Final = 30.0
"""Least seconds between two tokens minted because Apple refused one."""

LOOK_SECONDS: Final = 15.0
"""Between two looks at the token of a gateway that calls nobody; its expiry is watched by an alert."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The company's MusicKit key and what goes into its tokens. Equal where the tokens would be."""

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
        if not team_id or not key_id:
            raise ValueError("a developer token needs both a team id and a key id")
        if not 0 < lifetime_seconds <= LONGEST_LIFETIME:
            raise ValueError(f"a developer token lives at least 1 and at most {LONGEST_LIFETIME:,} seconds")
        # Environment files and secret managers often carry the line ends as two characters.
        pem = private_key.replace("\\n", "\n").strip()
        return cls(team_id, key_id, lifetime_seconds, origin, pem, _load(pem))


@dataclass(frozen=True, slots=True)
class DeveloperToken:
    """A minted token; times in epoch seconds."""

    text: str = field(repr=False)
    issued_at: int
    expires_at: int

    def serves(self, now: float) -> bool:
        """Whether it need not be replaced yet; false also where the clock was set back before its issue."""
        renewed_at = self.issued_at + RENEW_AFTER * (self.expires_at - self.issued_at)
        return self.issued_at <= now < renewed_at


def mint(key: SigningKey, now: float) -> DeveloperToken:
    """Sign a token issued at `now` (epoch seconds)."""
    issued_at = int(now)
    expires_at = issued_at + key.lifetime_seconds
    claims: dict[str, Any] = {"iss": key.team_id, "iat": issued_at, "exp": expires_at}
    if key.origin is not None:
        claims["origin"] = [key.origin]
    text = jwt.encode(claims, key.private_key, algorithm="ES256", headers={"kid": key.key_id})
    return DeveloperToken(text, issued_at, expires_at)


class TokenSource:
    """The one developer token in use: replaced well before its end, and at Apple's refusal."""

    def __init__(self, key: SigningKey, clock: Clock, metrics: Metrics) -> None:
        self._key = key
        self._clock = clock
        self._mints = metrics.developer_token_mints
        self._expiry = metrics.developer_token_expiry
        self._refused_at = float("-inf")
        self._token = self._mint("start")

    def current(self) -> DeveloperToken:
        """The token to send now."""
        if not self._token.serves(self._clock.time()):
            self._token = self._mint("renewal")
        return self._token

    def renew(self, refused: str) -> DeveloperToken | None:
        """The token to try after Apple answered 401 to `refused`; None where trying again makes no sense.

        Only the first of many calls that were refused together mints: the others get what it minted.
        """
        if self._token.text != refused:
            return self._token
        now = self._clock.monotonic()
        if now - self._refused_at < REFUSED_INTERVAL:
            return None
        self._refused_at = now
        self._token = self._mint("refused")
        return self._token

    def replace(self, key: SigningKey) -> None:
        """Sign with another key from now on."""
        if key != self._key:
            self._key = key
            self._token = self._mint("key")

    async def keep(self) -> None:
        """Replace the token when it is time though nobody asks for it, for as long as the task lives."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.current()

    def _mint(self, reason: str) -> DeveloperToken:
        token = mint(self._key, self._clock.time())
        self._mints.labels(reason).inc()
        self._expiry.set(token.expires_at)
        return token


def _load(pem: str) -> ec.EllipticCurvePrivateKey:
    if not pem.startswith("-----BEGIN "):
        raise ValueError("the private key is not PEM text (it begins with -----BEGIN PRIVATE KEY-----)")
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except TypeError:
        raise ValueError("the private key is encrypted; it must have no password") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("the private key is damaged PEM text, or holds no private key") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != ec.SECP256R1.name:
        raise ValueError("the private key is not an EC P-256 key, which ES256 needs")
    return key
