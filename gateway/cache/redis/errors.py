"""Redis failures: the exception, its kinds (labels of the error counter), and error replies as exceptions.

Error replies use the exception classes of redis-py, so that they read the same to its users.
"""

import asyncio
import ssl
from enum import StrEnum

from redis import exceptions as redis

from gateway.resolver import ResolutionError, ResolutionTimeout

MAX_TEXT = 300
"""Most characters that are logged of an error's text."""


class FailureKind(StrEnum):
    """The values of `kind` in `gateway_shared_cache_errors_total`."""

    TIMEOUT = "timeout"
    CONNECTION = "connection"
    """Refused, reset or closed, or the slot map has no node for the key."""
    DNS_TIMEOUT = "dns_timeout"
    DNS_ERROR = "dns_error"
    UNAVAILABLE = "unavailable"
    """Not sent: no connection, the breaker is open, or writes that Redis missed are being replayed."""
    OVERFLOW = "overflow"
    """Not sent: too much is waiting already."""
    PROTOCOL = "protocol"
    """Not RESP, or a reply of an unexpected shape."""
    OWNER = "owner"
    """A reply that belongs to another user."""
    DENIED = "denied"
    """Password, ACL or TLS."""
    LOADING = "loading"
    FULL = "full"
    READONLY = "readonly"
    """Refuses writes: a replica, too few replicas, or a snapshot that failed."""
    CLUSTER = "cluster"
    """The cluster is down, or redirects in circles."""
    RESPONSE = "response"
    """Any other error reply."""
    BACKLOG = "backlog"  # a label of metrics: the name is kept for dashboards of older releases
    """More undelivered writes than can be kept one by one."""


NAMED_REASONS = frozenset(
    (FailureKind.DENIED, FailureKind.LOADING, FailureKind.DNS_ERROR, FailureKind.DNS_TIMEOUT)
)
"""Reasons for having no connection that requests fail with; operators correct each of them elsewhere."""


class RedisFailed(Exception):
    """A request to Redis was not sent, or got no sound reply."""

    def __init__(self, kind: FailureKind) -> None:
        super().__init__(kind)
        self.kind = kind


class WritesRefused(redis.ResponseError):
    """A master refuses writes: too few replicas follow it, or its last snapshot failed."""


class NoMasterError(ConnectionError):
    """No Sentinel named a master. Its cause is the last Sentinel's failure, if that did not answer."""


_KINDS: tuple[tuple[type[Exception], FailureKind], ...] = (
    (redis.BusyLoadingError, FailureKind.LOADING),
    (redis.AuthenticationError, FailureKind.DENIED),
    (redis.NoPermissionError, FailureKind.DENIED),
    (redis.OutOfMemoryError, FailureKind.FULL),
    (redis.ReadOnlyError, FailureKind.READONLY),
    (WritesRefused, FailureKind.READONLY),
    (redis.MovedError, FailureKind.CLUSTER),
    (redis.AskError, FailureKind.CLUSTER),
    (redis.TryAgainError, FailureKind.CLUSTER),
    (redis.ClusterDownError, FailureKind.CLUSTER),
    (redis.ResponseError, FailureKind.RESPONSE),
    (redis.InvalidResponse, FailureKind.PROTOCOL),
    (redis.ConnectionError, FailureKind.CONNECTION),
    (ResolutionTimeout, FailureKind.DNS_TIMEOUT),
    (ResolutionError, FailureKind.DNS_ERROR),
    (ssl.SSLError, FailureKind.DENIED),
    (asyncio.TimeoutError, FailureKind.TIMEOUT),
    (OSError, FailureKind.CONNECTION),
)

_REPLIES: dict[str, type[redis.RedisError]] = {
    "LOADING": redis.BusyLoadingError,
    "MISCONF": WritesRefused,
    "NOREPLICAS": WritesRefused,
    "NOAUTH": redis.AuthenticationError,
    "WRONGPASS": redis.AuthenticationError,
    "NOPERM": redis.NoPermissionError,
    "NOSCRIPT": redis.NoScriptError,
    "OOM": redis.OutOfMemoryError,
    "READONLY": redis.ReadOnlyError,
    "TRYAGAIN": redis.TryAgainError,
    "CLUSTERDOWN": redis.ClusterDownError,
}
_DENIED_IN_SCRIPT = ("The user executing the script can't ", "ACL failure in script")
"""Parts of ERR replies to a script that lacks a right: of Redis 6 and 7, and of later ones."""
_REDIRECTS: dict[str, type[redis.AskError]] = {"MOVED": redis.MovedError, "ASK": redis.AskError}


def failure_kind(error: BaseException) -> FailureKind:
    """The kind that an exception counts as; unforeseen ones are protocol errors."""
    if isinstance(error, RedisFailed):
        return error.kind
    if isinstance(error, NoMasterError) and error.__cause__ is not None:
        return failure_kind(error.__cause__)
    return next((kind for cls, kind in _KINDS if isinstance(error, cls)), FailureKind.PROTOCOL)


def may_be_done(error: BaseException) -> bool:
    """Whether Redis may have carried out the request that failed, or still may."""
    return failure_kind(error) in (FailureKind.TIMEOUT, FailureKind.CONNECTION, FailureKind.PROTOCOL)


def described(error: BaseException) -> str:
    """Kind and text of a failure, for the log."""
    kind, text = failure_kind(error), str(error)
    return kind if text in ("", kind) else f"{kind}: {text[:MAX_TEXT]}"


def reply_error(text: str) -> redis.RedisError:
    """The exception for an error reply. A redirection without a sound address is an invalid reply."""
    code, _, rest = text.partition(" ")
    if code in _REDIRECTS:
        try:
            return _REDIRECTS[code](rest)
        except ValueError:
            return redis.InvalidResponse(text)
    if text == "ERR max number of clients reached":
        return redis.ConnectionError(text)
    if code == "ERR" and any(part in text for part in _DENIED_IN_SCRIPT):
        return redis.NoPermissionError(text)
    return _REPLIES.get(code, redis.ResponseError)(text)


def is_wrong_type(error: BaseException) -> bool:
    """Whether a command met a key of another Redis type than it works on."""
    return isinstance(error, redis.ResponseError) and str(error).startswith("WRONGTYPE")
