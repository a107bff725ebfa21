"""Collects what the log line and the metrics need of one request and its answer."""

import itertools
import os
import re
from collections.abc import Mapping

import msgspec
from multidict import istr

from gateway.errors import Cause, GatewayError, UpstreamError
from gateway.ratings.query import Part, TierCounts
from gateway.telemetry.recent import shown
from gateway.telemetry.request_log import RequestLine

_PRINTABLE = re.compile(r"[\x20-\x7e]{1,128}")
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
)
_REQUEST_ID = istr("X-Request-Id")
_TRACE_PARENT = istr("traceparent")
_PROCESS = os.urandom(6).hex()
_numbers = itertools.count(1)


class RequestRecord:
    """Filled in as a request is processed; never holds a user token."""

    __slots__ = (
        "cache",
        "counts",
        "ended",
        "ended_at",
        "error",
        "ids",
        "kind",
        "logged",
        "method",
        "parts",
        "request_id",
        "route",
        "started",
        "status",
        "trace_id",
        "user",
    )  # fmt: skip

    def __init__(self, method: str, headers: Mapping[str, str], started: float) -> None:
        self.started = started
        """Monotonic seconds, as `ended`."""
        self.ended = started
        self.ended_at = 0.0
        """Epoch seconds."""
        self.logged = True
        self.method = method
        self.request_id = request_id(headers.get(_REQUEST_ID))
        traceparent = headers.get(_TRACE_PARENT)
        self.trace_id = None if traceparent is None else trace_id(traceparent)
        self.route = "unmatched"
        self.kind: str | None = None
        self.user: str | None = None
        self.ids = 0
        self.counts = NO_COUNTS
        self.cache = "none"
        self.status = 0
        self.error: GatewayError | None = None
        self.parts: tuple[Part, ...] = ()
        """What was asked for, if not all of it was a hit."""

    def fail(self, error: GatewayError) -> None:
        """Record why it failed, without the traceback: its frames hold this record and the request's body.

        Only the garbage collector would free such a cycle, and it counts objects, not bytes.
        """
        error.__cause__ = error.__context__ = None
        self.error = error.with_traceback(None)

    def line(self) -> RequestLine:
        """The canonical line."""
        counts = self.counts
        return RequestLine(
            level="info" if self.status < 400 else self._level_of_failure(),
            request_id=self.request_id,
            trace_id=self.trace_id,
            method=self.method,
            route=self.route,
            type=self.kind,
            status=self.status,
            duration_ms=round((self.ended - self.started) * 1000, 3),
            ids=self.ids,
            local=counts.local,
            shared=counts.shared,
            upstream=counts.upstream,
            stale=counts.stale,
            upstream_calls=counts.calls,
            user=self.user,
            error=msgspec.UNSET if self.error is None else f"{self.error.code} {shown(self.error)}",
        )

    def _level_of_failure(self) -> str:
        error = self.error
        token_refused = isinstance(error, UpstreamError) and error.cause is Cause.DEVELOPER_TOKEN
        return "warning" if self.status >= 500 or token_refused else "info"


NO_COUNTS = TierCounts()


def request_id(given: str | None) -> str:
    """The caller's id if it is 1 to 128 printable characters, else a new one."""
    if given is not None and _PRINTABLE.fullmatch(given):
        return given
    return f"{_PROCESS}-{next(_numbers):08x}"


def trace_id(traceparent: str) -> str | None:
    """The trace id of a W3C `traceparent`; None if it is not valid."""
    found = _TRACEPARENT.fullmatch(traceparent)
    return None if found is None else found[1]
