"""Parses request headers: caller, user, directives, deadline, preconditions."""

import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Final

from aiohttp import hdrs
from multidict import CIMultiDictProxy, istr

from gateway.errors import Refused
from gateway.host_header import is_allowed
from gateway.model import User
from gateway.ratings.query import NO_DIRECTIVES, Directives
from gateway.user_token import is_valid, user_tokens
from gateway.web.target import bad_parameter

Headers = CIMultiDictProxy[str]

MAX_TIMEOUT_MS: Final = 600_000
USER_TOKEN: Final = "Music-User-Token"  # noqa: S105 - a header's name
# A plain `str` would be folded to lower case on each look-up; an `istr` is not.
_TIMEOUT: Final = istr("X-Request-Timeout-Ms")
_PREFER: Final = istr("Prefer")
_PREFERENCE: Final = re.compile(r'(?:"(?:[^"\\]|\\.)*"?|[^",])+')
"""One preference of RFC 7240. Quoted strings may hold commas; one that is not closed ends with the header."""
PRECONDITIONS: Final = ("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since")


class CallerCheck:
    """Requires one of the caller tokens; without any, accepts everyone."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = [token.encode() for token in tokens]

    def replace(self, tokens: Sequence[str]) -> None:
        """Accept these tokens from now on, and no others."""
        self._tokens = [token.encode() for token in tokens]

    def __call__(self, headers: Headers) -> None:
        """Raise `Refused` 401 without a valid token. Compares all tokens, each in constant time."""
        if not self._tokens:
            return
        presented = [_bytes(token) for token in headers.getall("X-Gateway-Token", ())]
        for value in headers.getall(hdrs.AUTHORIZATION, ()):
            scheme, _, token = value.partition(" ")
            if scheme.lower() == "bearer":
                presented.append(_bytes(token.strip()))
        matches = [hmac.compare_digest(given, known) for given in presented for known in self._tokens]
        if not any(matches):
            raise Refused(
                401,
                "40100",
                "Unauthorized",
                "Present a caller token: X-Gateway-Token, or Authorization: Bearer.",
                headers={"WWW-Authenticate": 'Bearer realm="ratings-gateway"'},
            )


def read_user(headers: Headers) -> User:
    """The user whose token the request carries. Raises `Refused`: 403 for none, 400 for two."""
    tokens = user_tokens(headers)
    if not tokens:
        raise Refused(403, "40300", "Forbidden", f"The request carries no {USER_TOKEN}.")
    if len(tokens) > 1:
        raise bad_parameter("The request carries two different user tokens.", USER_TOKEN)
    (token,) = tokens
    if not is_valid(token):
        raise Refused(
            403, "40300", "Forbidden", f"The {USER_TOKEN} has characters other than printable ASCII."
        )
    return User.of(token)


def check_host(headers: Headers) -> None:
    """Raise `Refused` 400 for a `Host` that RFC 9112, section 3.2, forbids."""
    host = headers.get(hdrs.HOST)
    if host is not None and not is_allowed(host):
        raise Refused(400, "40000", "Bad Request", "The Host header does not name a host.")


def preconditions(headers: Headers) -> Mapping[str, str]:
    """The conditions of a write (RFC 9110, section 13.1), which Apple evaluates."""
    return {name: ", ".join(headers.getall(name)) for name in PRECONDITIONS if name in headers}


def read_directives(headers: Headers) -> Directives:
    """The request's `Cache-Control`; unknown and malformed directives are ignored."""
    if hdrs.CACHE_CONTROL not in headers:
        return NO_DIRECTIVES
    given: dict[str, str | None] = {}
    for piece in ",".join(headers.getall(hdrs.CACHE_CONTROL)).split(","):
        name, equals, value = piece.strip().partition("=")
        given[name.strip().lower()] = value.strip().strip('"') if equals else None
    directives = Directives(
        no_cache="no-cache" in given,
        no_store="no-store" in given,
        only_if_cached="only-if-cached" in given,
        max_age=_seconds(given.get("max-age")),
        max_stale=_seconds(given["max-stale"], bare=float("inf")) if "max-stale" in given else None,
    )
    return NO_DIRECTIVES if directives == NO_DIRECTIVES else directives


def read_timeout(headers: Headers) -> float | None:
    """`X-Request-Timeout-Ms` in seconds. Raises `Refused` unless it is a number from 1 to 600,000."""
    given = headers.get(_TIMEOUT)
    if given is None:
        return None
    # The length is checked first: Python refuses to read thousands of digits.
    if not (given.isascii() and given.isdigit() and len(given) < 10 and 1 <= int(given) <= MAX_TIMEOUT_MS):
        raise bad_parameter(
            f"X-Request-Timeout-Ms must be a number from 1 to {MAX_TIMEOUT_MS}.", "X-Request-Timeout-Ms"
        )
    return int(given) / 1000


def wants_leniency(headers: Headers) -> bool:
    """Whether `Prefer` asks for `handling=lenient`. Of several `handling`s the first counts (RFC 7240)."""
    if _PREFER not in headers:
        return False
    for preference in _PREFERENCE.finditer(",".join(headers.getall(_PREFER))):
        name, _, value = preference[0].partition(";")[0].partition("=")
        if name.strip().lower() == "handling":
            return value.strip().strip('"').lower() == "lenient"
    return False


def _bytes(header: str) -> bytes:
    return header.encode("utf-8", "surrogateescape")


def _seconds(value: str | None, bare: float | None = None) -> float | None:
    if value is None:
        return bare
    return float(value) if value.isascii() and value.isdigit() and len(value) < 12 else None
