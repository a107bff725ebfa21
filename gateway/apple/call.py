"""A call to Apple and how it failed, as the caller and the batch splitter exchange them."""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import msgspec

from gateway.apple.attribution import Asked, Verdict
from gateway.apple.trial import Trial
from gateway.errors import AppleError, Unreachable, Unusable, UpstreamError
from gateway.model import User
from gateway.waiters import Waiters

NO_HEADERS: Final[Mapping[str, str]] = {}


class Outgrown(Exception):
    """A call was not made: while it waited for its turn, one like it was refused as too large."""


class Call(msgspec.Struct, frozen=True):
    """What is asked of Apple, for which user."""

    operation: str
    """`read`, `write`, `delete`, `favorites` or `bypass`: the label of the metrics."""
    method: str
    target: str
    """Path and query, as they go on the wire."""
    user: User
    waiters: Waiters
    trial: Trial
    asked: Asked
    """What the attribution of a failure depends on, as of the first try."""
    body: bytes | None = None
    headers: Mapping[str, str] = NO_HEADERS
    """Preconditions of a write."""
    full_timeout: bool = False
    """The first try has the whole call timeout even past the deadline: its answer is kept."""
    fits: Callable[[], bool] = lambda: True
    """Checked before the first try: False if Apple has refused that many ids meanwhile."""


def asked_of(method: str, headers: Mapping[str, str] = NO_HEADERS) -> Asked:
    """What a method and preconditions say about the call."""
    return Asked(
        read=method == "GET",
        deletes=method == "DELETE",
        idempotent=method != "POST" and not headers,
    )


class Failed(NamedTuple):
    """How a call ended that has no result."""

    error: UpstreamError
    verdict: Verdict
    again: bool = False
    """Whether its next try is due, after any wait: without the riders that this one had."""
    abandoned: bool = False
    """Whether the gateway ended it, not Apple: its last try was not sent, or the deadline cut it short."""


def status_label(failure: UpstreamError) -> str:
    """The `status` of `upstream_requests_total`: what Apple answered, or the kind of failure."""
    match failure:
        case AppleError():
            return str(failure.status)
        case Unreachable(proxy_error=str(kind)):
            return kind
        case Unusable():
            return "unusable"
        case _:
            return "deadline"
