"""Every failure that can reach a caller, and the HTTP answer that each one becomes.

GatewayError
├── Refused                 the request cannot be served as it stands (4xx, or 504 for only-if-cached)
└── UpstreamError           Apple, or the way to it, failed
    ├── Relayed             Apple answered with an error: its status and body go to the caller
    │   └── Quarantined     Apple refused this user token a moment ago: not asked again yet
    ├── Unusable            502  Apple answered something that is no sound answer
    ├── Unreachable         502  no answer: refused, reset, timed out
    ├── BreakerOpen         503  too many failures lately: not tried
    ├── NoCapacity          503  every slot is taken and the queue is full
    └── DeadlineExceeded    504  the caller's, or the fetch's, time is up

`status`, `code` and `title` are the envelope's; `proxy_error` is the RFC 9209 error type.
"""

import msgspec


class GatewayError(Exception):
    """A failure with a status, Apple's kind of code, a title, and a detail for the caller."""

    status: int = 500
    code: str = "50000"
    title: str = "Internal Error"

    def __init__(self, detail: str, *, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after
        """Seconds after which another try makes sense, where that is known."""


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

    def anew(self) -> "Refused":
        """The same refusal as a new exception: one that is raised repeatedly keeps every frame it met."""
        return Refused(
            self.status, self.code, self.title, self.detail, source=self.source, headers=dict(self.headers)
        )


class UpstreamError(GatewayError):
    """Apple, or the way to it, failed."""

    status = 502
    code = "50200"
    title = "Bad Gateway"
    proxy_error: str | None = "proxy_internal_error"

    @property
    def stale_allowed(self) -> bool:
        """Whether a stale rating may stand in: not where the fault is the request's or the user's own."""
        return True

    @property
    def received_status(self) -> int | None:
        """The status that Apple answered, where it answered."""
        return None


class Relayed(UpstreamError):
    """Apple's own error: `status` and `body` are what it sent (its 401 has an empty body)."""

    title = "Upstream Error"
    proxy_error = None

    def __init__(
        self, status: int, body: bytes, *, code: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(f"Apple Music answered {status}.", retry_after=retry_after)
        self.status = status
        self.body = body
        self.apples_code = code
        """The first error's `code` where the body has Apple's envelope."""
        self.code = code or f"{status}00"

    @property
    def received_status(self) -> int | None:
        return self.status

    @property
    def stale_allowed(self) -> bool:
        return self.status >= 500 or self.status in (401, 408, 429)


class Quarantined(Relayed):
    """Apple answered this user token 403 `40300` within the quarantine; `body` is what it sent then."""

    @property
    def received_status(self) -> int | None:
        return None


class Unusable(UpstreamError):
    """Apple's answer is no sound answer: HTML, truncated or mis-shaped JSON, ids that were not asked for."""

    proxy_error = "http_protocol_error"

    def __init__(self, detail: str, *, received_status: int | None = None) -> None:
        super().__init__(detail)
        self._received_status = received_status

    @property
    def received_status(self) -> int | None:
        return self._received_status


class Unreachable(UpstreamError):
    """No answer from Apple; `proxy_error` says how the way to it failed.

    `sent` is whether any byte of the request may have reached Apple: a write is repeated only where False.
    """

    def __init__(self, detail: str, *, proxy_error: str, sent: bool) -> None:
        super().__init__(detail)
        self.proxy_error = proxy_error
        self.sent = sent


class BreakerOpen(UpstreamError):
    """Too many calls failed lately: nothing is sent until the breaker lets a probe through."""

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


class DeadlineExceeded(UpstreamError):
    """The time that the caller, or the fetch itself, had is up."""

    status = 504
    code = "50400"
    title = "Gateway Timeout"
    proxy_error = "http_response_timeout"
