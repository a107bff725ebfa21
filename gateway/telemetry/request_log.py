"""The canonical log line of each request, written in batches.

A line through structlog costs a fifth of a hit, so JSON lines are encoded here, in the same form and to the
same outlet; on a terminal structlog renders them.
"""

import time
from collections.abc import Iterable
from typing import TypeAlias

import msgspec
from structlog.typing import FilteringBoundLogger

from gateway.telemetry.log_writer import Outlet


class RequestLine(msgspec.Struct, kw_only=True):
    """The fields of the line, in their order; docs/operations.md explains them under *Log*."""

    event: str = "request"
    level: str = "info"
    """`info` or `warning`."""
    timestamp: str = ""
    request_id: str
    trace_id: str | None
    method: str
    route: str
    type: str | None
    status: int
    duration_ms: float
    ids: int
    local: int
    shared: int
    upstream: int
    stale: int
    upstream_calls: int
    user: str | None
    error: str | msgspec.UnsetType = msgspec.UNSET


Answered: TypeAlias = Iterable[tuple[float, RequestLine]]
"""Lines, each with the time (epoch seconds) at which its request was answered."""


class JsonRequestLog:
    """Writes lines as structlog would, a whole batch at once."""

    def __init__(self, outlet: Outlet, *, warnings_only: bool = False) -> None:
        self._outlet = outlet
        self._warnings_only = warnings_only
        self._encode = msgspec.json.Encoder().encode
        self._encode_lines = msgspec.json.Encoder().encode_lines
        self._second = 0
        self._prefix = ""

    def __call__(self, answered: Answered) -> None:
        lines = []
        for at, line in answered:
            if self._warnings_only and line.level != "warning":
                continue
            line.timestamp = self._timestamp(at)
            lines.append(line)
        if lines and not self._outlet.offer(self._encode_lines(lines)):
            for line in lines:
                self._outlet.write(self._encode(line) + b"\n", urgent=line.level == "warning")

    def _timestamp(self, at: float) -> str:
        second = int(at)
        if second != self._second:
            self._second = second
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        return f"{self._prefix}{int((at - second) * 1e6):06d}Z"


class ConsoleRequestLog:
    """Has structlog render each line for people."""

    def __init__(self, log: FilteringBoundLogger, *, warnings_only: bool = False) -> None:
        self._log = log
        self._warnings_only = warnings_only

    def __call__(self, answered: Answered) -> None:
        for _, line in answered:
            fields = msgspec.structs.asdict(line)
            shown = {name: value for name, value in fields.items() if value is not msgspec.UNSET}
            for made_by_structlog in ("event", "level", "timestamp"):
                del shown[made_by_structlog]
            if line.level == "warning":
                self._log.warning("request", **shown)
            elif not self._warnings_only:
                self._log.info("request", **shown)
