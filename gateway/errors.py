"""Every failure that can reach a caller, and the HTTP answer that each one becomes.

GatewayError
├── Refused                 the request cannot be served as it stands (4xx, or 504 for only-if-cached)
└── UpstreamError           Apple, or the way to it, failed
    ├── AppleError          Apple answered with an error: its status, and its envelope, go to the caller
    │   └── Quarantined     Apple refused this user token a moment ago: not asked again yet
    ├── Unusable            502  Apple's answer is not one of its API
    ├── Unreachable         502  no answer: refused, reset, timed out
    ├── BreakerOpen         503  too many recent failures: not tried
    ├── NoCapacity          503  every slot is taken and the queue is full
    └── DeadlineExceeded    504  the caller's, or the fetch's, time is up

`status`, `code` and `title` are the envelope's; `proxy_error` is the RFC 9209 error type. `cause` is what
an upstream failure is attributed to: see `gateway.apple.attribution`, which decides.
"""

from enum import StrEnum
from typing import Self

import msgspec


class GatewayError(Exception):
    """A failure with a status, a code as Apple's, a title, and a detail for the caller."""

    status: int = 500
    code: str = "50000"
    title: str = "Internal Error"

    def __init__(self, detail: str, *, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after
        """Seconds after which another try makes sense; None if undetermined."""


class Source(msgspec.Struct, frozen=True):
    """Which part of the request an error is about: a query parameter, or a JSON pointer into the body."""

    parameter: str | None = None
    pointer: str | None = None


class Refused(GatewayError):
    """The request cannot be served as it stands; made by the gateway."""

    def __init__(
        self,
        status: int,
        code: str,
        title: str,
        detail: str,
        *,
        source: Source | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.title = title
        self.source = source
        self.headers = headers or {}


class Cause(StrEnum):
    """What an upstream failure is attributed to. Only `APPLE` can open the breaker."""

    REQUEST = "request"
    """The request as it stands, or an answer such as "not rated"."""
    ID = "id"
    USER = "user"
    CONNECTION = "connection"
    DEVELOPER_TOKEN = "developer_token"  # noqa: S105 - a name
    APPLE = "apple"
    THROTTLED = "throttled"
    """Apple answered 429: the company's budget is spent."""
    CAPACITY = "capacity"
    """No slot is free."""
    DEADLINE = "deadline"


AVAILABILITY_CAUSES = frozenset({Cause.APPLE, Cause.DEVELOPER_TOKEN, Cause.CAPACITY, Cause.DEADLINE})
"""Causes that the availability objective counts; the others are the caller's own."""


class UpstreamError(GatewayError):
    """Apple, or the way to it, failed."""

    status = 502
    code = "50200"
    title = "Bad Gateway"
    proxy_error: str | None = "proxy_internal_error"
    cause = Cause.APPLE
    stale_allowed = True
    """Whether a stale rating may stand in: not if the fault is the request's or the user's own."""
    remembered = False
    """Whether this repeats an earlier failure from memory: Apple was not asked."""
    maybe_done = False
    """Whether an earlier try of the call was sent and left unanswered: a write may have been carried out."""
    _received: int | None = None

    @property
    def received_status(self) -> int | None:
        """The status that Apple answered; None if it was not asked or did not answer."""
        return None if self.remembered else self._received

    @property
    def reason(self) -> str:
        """What happened in a word or two, for counters and pages: `500`, `connection refused`."""
        kind = (self.proxy_error or "failed").replace("_", " ")
        return kind if self._received is None else str(self._received)

    def attribute(self, cause: Cause, *, stale_allowed: bool) -> Self:
        """Set what the failure is attributed to, and whether a stale rating may stand in."""
        self.cause = cause
        self.stale_allowed = stale_allowed
        return self

    def as_remembered(self) -> Self:
        """The same failure as a new exception that was answered from memory."""
        again = type(self).__new__(type(self), *self.args)
        again.__dict__.update(self.__dict__, remembered=True)
        return again


class AppleError(UpstreamError):
    """Apple's own error; `body` is its envelope, empty if it sent none (as with its 401)."""

    title = "Upstream Error"
    proxy_error = None

    def __init__(
        self,
        status: int,
        body: bytes,
        *,
        code: str | None = None,
        blamed: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"Apple Music answered {status}.", retry_after=retry_after)
        self.status = status
        self.body = body
        self.blamed = blamed
        """The parameter that Apple's error names as its source: `ids` if any error names it."""
        self.code = code or _MADE_CODES.get(status, f"{status}00")
        self._received = status

    @property
    def enveloped(self) -> bool:
        """Whether Apple sent the error in its envelope, not the edge in front of it."""
        return bool(self.body)


_MADE_CODES = {403: "40301"}
"""Codes for answers without Apple's envelope. `40300` means a bad user token, and is never made up."""


class Quarantined(AppleError):
    """Apple refused this user token within the quarantine; `body` is what it sent then."""

    remembered = True
    cause = Cause.USER
    stale_allowed = False


class Unusable(UpstreamError):
    """An answer that is not one of Apple's API: HTML, cut off or mis-shaped JSON, ids not asked for."""

    proxy_error = "http_protocol_error"

    def __init__(
        self,
        detail: str,
        *,
        received_status: int | None = None,
        other_shape: bool = False,
        too_large: bool = False,
    ) -> None:
        super().__init__(detail)
        self._received = received_status
        self.other_shape = other_shape
        """Whether it is well-formed JSON, but not a list of ratings: a parameter may have asked for that."""
        self.too_large = too_large
        """Whether it is larger than the gateway reads."""

    @property
    def reason(self) -> str:
        return "unusable answer"


class Unreachable(UpstreamError):
    """No answer from Apple; `proxy_error` says how the way to it failed.

    `sent`: whether any byte of the request may have reached Apple. `kept`: whether it was sent on a kept
    connection, which broke before any byte of an answer came.
    """

    def __init__(self, detail: str, *, proxy_error: str, sent: bool, kept: bool = False) -> None:
        super().__init__(detail)
        self.proxy_error = proxy_error
        self.sent = sent
        self.kept = kept

    @property
    def timed_out(self) -> bool:
        """Whether the request was sent, and no whole answer came in time."""
        return self.proxy_error == "http_response_timeout"


class BreakerOpen(UpstreamError):
    """Too many calls failed recently: nothing is sent until the breaker admits a probe."""

    status = 503
    code = "50300"
    title = "Service Unavailable"
    proxy_error = "destination_unavailable"


class NoCapacity(UpstreamError):
    """Every upstream slot is taken and the queue for them is full."""

    status = 503
    code = "50300"
    title = "Service Unavailable"
    proxy_error = "connection_limit_reached"
    cause = Cause.CAPACITY


class DeadlineExceeded(UpstreamError):
    """The time that the caller, or the fetch itself, had is up."""

    status = 504
    code = "50400"
    title = "Gateway Timeout"
    cause = Cause.DEADLINE

    def __init__(
        self, detail: str, *, received_status: int | None = None, proxy_error: str | None = None
    ) -> None:
        super().__init__(detail)
        self._received = received_status
        self.proxy_error = proxy_error or "http_response_timeout"
