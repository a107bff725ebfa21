"""Verifies developer tokens as Apple does. Time is an argument.

Written from Apple's page on developer tokens, and on purpose not shared with the gateway's signer: a mistake
there must not be repeated here.
"""

import math
from collections.abc import Iterable
from typing import Any, TypeGuard

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.sandbox.credentials import TrustedKey

MAX_LIFETIME_SECONDS = 15_777_000
"""How far in the future `exp` may be (six months, by Apple's documentation)."""

_REMEMBERED_TOKENS = 64
_SIGNATURE_ONLY = {
    f"verify_{claim}": claim == "signature"
    for claim in ("signature", "exp", "nbf", "iat", "aud", "iss", "sub", "jti")
}


class TokenVerifier:
    """Trusted keys, and the check of tokens against them."""

    def __init__(self, trusted: Iterable[TrustedKey]) -> None:
        self._keys: dict[str, tuple[str, ec.EllipticCurvePublicKey]] = {}
        self._verified: dict[str, dict[str, Any]] = {}
        self.reset(trusted)

    def reset(self, trusted: Iterable[TrustedKey]) -> None:
        """Trust only these keys."""
        self._keys.clear()
        self._verified.clear()
        for key in trusted:
            self.trust(key)

    def trust(self, key: TrustedKey) -> None:
        """Accept tokens of this key. Raises ValueError if it is not a P-256 public key."""
        public = serialization.load_pem_public_key(key.public_key_pem.encode())
        if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
            raise ValueError(f"key {key.key_id} is not a P-256 key")  # noqa: TRY004 - its text is at fault
        self._keys[key.key_id] = (key.team_id, public)
        self._verified.clear()

    def distrust(self, key_id: str) -> None:
        """Refuse tokens of a key, as after its revocation. Raises KeyError if it is unknown."""
        del self._keys[key_id]
        self._verified.clear()

    def objection(self, authorization: str | None, *, origin: str | None, now: float) -> str | None:
        """Why Apple would answer 401; None if it would not.

        `authorization` and `origin` are the headers' values, `now` is seconds since the epoch.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return "no bearer token"
        claims = self._verified.get(token)
        if claims is None:
            try:
                claims = self._signed_claims(token)
            except jwt.PyJWTError as error:
                return str(error)
            if len(self._verified) >= _REMEMBERED_TOKENS:
                self._verified.clear()
            self._verified[token] = claims
        return _objection_to_times(claims, now) or _objection_to_origin(claims, origin)

    def _signed_claims(self, token: str) -> dict[str, Any]:
        header = jwt.get_unverified_header(token)
        if header.get("alg") != "ES256":
            raise jwt.InvalidAlgorithmError(f"alg is {header.get('alg')!r}, not ES256")
        team_id, public = self._keys.get(header.get("kid", ""), (None, None))
        if public is None:
            raise jwt.InvalidKeyError(f"kid {header.get('kid')!r} is unknown")
        claims: dict[str, Any] = jwt.decode(
            token,
            public,
            algorithms=["ES256"],
            options=_SIGNATURE_ONLY,  # type: ignore[arg-type]
        )
        if claims.get("iss") != team_id:
            raise jwt.InvalidIssuerError(f"iss {claims.get('iss')!r} is not the key's team")
        return claims


def _objection_to_times(claims: dict[str, Any], now: float) -> str | None:
    issued, expires = claims.get("iat"), claims.get("exp")
    if not (_is_time(issued) and _is_time(expires)):
        return "iat or exp is missing, or no number"
    if issued > now:
        return "iat is in the future"
    if expires <= now:
        return "expired"
    if expires - now > MAX_LIFETIME_SECONDS:
        return f"exp is more than {MAX_LIFETIME_SECONDS} s ahead"
    return None


def _objection_to_origin(claims: dict[str, Any], origin: str | None) -> str | None:
    allowed = claims.get("origin")
    if allowed is None:
        return None
    if not isinstance(allowed, list):
        return "origin is not a list"
    return None if origin in allowed else f"Origin {origin!r} is not among the token's"


def _is_time(claim: object) -> TypeGuard[float]:
    return isinstance(claim, int | float) and not isinstance(claim, bool) and math.isfinite(claim)
