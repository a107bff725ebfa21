"""`token`: mint a developer token, or decode one."""

import json
import sys
import time
from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime
from typing import Any

import jwt

from gateway.apple.developer_token import mint
from gateway.cli.config import with_settings
from gateway.cli.console import CommandFailed, say
from gateway.cli.parser import takes_config
from gateway.credentials import signing_key
from gateway.ops.formatting import duration
from gateway.settings import Settings

DESCRIPTION = "Signs with apple.private_key, which is never printed."
EXAMPLES = """
    curl -H "Authorization: Bearer $(ratings-gateway token)" https://api.music.apple.com/v1/test
    ratings-gateway token --decode
    ratings-gateway token --decode < token.txt
"""


def arguments(parser: ArgumentParser) -> None:
    takes_config(parser)
    parser.add_argument(
        "--decode",
        action="store_true",
        help="show header, claims and expiry of the token on stdin (of a new one if it is empty)",
    )


def run(arguments: Namespace) -> int:
    given = _given() if arguments.decode else ""
    if given:
        say(described(given, time.time()))
        return 0

    def print_new(settings: Settings) -> int:
        now = time.time()
        text = mint(signing_key(settings, origin=settings.apple.origin), now).text
        say(described(text, now) if arguments.decode else text)
        return 0

    return with_settings(arguments, print_new)


def _given() -> str:
    """The token on stdin, or an empty string."""
    if sys.stdin is None or sys.stdin.isatty():
        return ""
    try:
        return sys.stdin.read().strip()
    except UnicodeDecodeError as error:
        raise _no_token(error) from None


def described(token: str, now: float) -> str:
    """Header, claims and expiry of a token at `now` (epoch seconds); the signature is not verified."""
    try:
        header = jwt.get_unverified_header(token)
        claims = jwt.decode(token, options={"verify_signature": False})
    except (jwt.InvalidTokenError, UnicodeEncodeError) as error:
        raise _no_token(error) from None
    shown = {"header": header, "claims": claims}
    return f"{json.dumps(shown, indent=2)}\n{_expiry(claims.get('exp'), now)}"


def _no_token(error: Exception) -> CommandFailed:
    reason = "not text" if isinstance(error, UnicodeError) else error
    return CommandFailed(f"not a JSON Web Token ({reason}). Pass only the token on stdin, without `Bearer`.")


def _expiry(expires_at: Any, now: float) -> str:
    if expires_at is None:
        return "never expires: it has no exp claim, and Apple refuses it"
    try:
        at = datetime.fromtimestamp(expires_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        left = expires_at - now
    except (TypeError, ValueError, OverflowError, OSError):
        return "the exp claim is not a time in seconds since 1970"
    span = duration(round(abs(left)))
    return f"expires in {span}, at {at}" if left > 0 else f"expired {span} ago, at {at}"
