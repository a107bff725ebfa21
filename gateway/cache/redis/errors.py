"""How asking Redis can fail: one exception of a few kinds, which are the labels of the error counter."""

import asyncio
import ssl
from enum import StrEnum

from redis import exceptions as redis


class FailureKind(StrEnum):
    """The values of `kind` in `gateway_shared_cache_errors_total`."""

    TIMEOUT = "timeout"
    CONNECTION = "connection"
    """Refused, reset, closed, or no node known for the key."""
    UNAVAILABLE = "unavailable"
    """Not asked: no connection at present, or the breaker is open."""
    OVERFLOW = "overflow"
    """Not asked: too much is waiting already."""
    PROTOCOL = "protocol"
    """Nonsense: no Redis protocol, or a reply of another shape than asked for."""
    OWNER = "owner"
    """A reply that belongs to another user."""
    DENIED = "denied"
    """Password, ACL or TLS."""
    LOADING = "loading"
    FULL = "full"
    READONLY = "readonly"
    CLUSTER = "cluster"
    """The cluster is down, or sends from node to node."""
    RESPONSE = "response"
    """Any other error reply."""
    BACKLOG = "backlog"
    """More writes untold than can be kept one by one."""


class Failed(Exception):
    """Redis could not be asked or did not answer soundly."""

    def __init__(self, kind: FailureKind) -> None:
        super().__init__(kind)
        self.kind = kind


_KINDS: tuple[tuple[type[Exception], FailureKind], ...] = (
    (redis.BusyLoadingError, FailureKind.LOADING),
    (redis.AuthenticationError, FailureKind.DENIED),
    (redis.AuthorizationError, FailureKind.DENIED),
    (redis.NoPermissionError, FailureKind.DENIED),
    (redis.OutOfMemoryError, FailureKind.FULL),
    (redis.ReadOnlyError, FailureKind.READONLY),
    (redis.MovedError, FailureKind.CLUSTER),
    (redis.AskError, FailureKind.CLUSTER),
    (redis.TryAgainError, FailureKind.CLUSTER),
    (redis.ClusterDownError, FailureKind.CLUSTER),
    (redis.ResponseError, FailureKind.RESPONSE),
    (redis.InvalidResponse, FailureKind.PROTOCOL),
    (redis.TimeoutError, FailureKind.TIMEOUT),
    (asyncio.TimeoutError, FailureKind.TIMEOUT),
    (redis.ConnectionError, FailureKind.CONNECTION),
    (OSError, FailureKind.CONNECTION),
)


def kind_of(error: BaseException) -> FailureKind:
    """The kind that an exception counts as: what nobody foresaw is a nonsensical answer."""
    if isinstance(error, Failed):
        return error.kind
    if isinstance(error.__context__, ssl.SSLError):  # redis-py wraps it in its own
        return FailureKind.DENIED
    return next((kind for cls, kind in _KINDS if isinstance(error, cls)), FailureKind.PROTOCOL)


def is_wrong_type(error: BaseException) -> bool:
    """Whether a command met a key of another Redis type than it works on."""
    return isinstance(error, redis.ResponseError) and str(error).startswith("WRONGTYPE")
