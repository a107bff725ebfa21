"""Bounds the open connections, so that file descriptors are left for probes, Redis and Apple."""

from collections.abc import Callable
from typing import Final

from structlog.typing import FilteringBoundLogger

from gateway.telemetry.metrics import Metrics

LOG_SECONDS: Final = 60.0

CallLater = Callable[[float, Callable[[], object]], object]
"""Calls a function after some seconds, as `loop.call_later` does."""


class ConnectionLimit:
    """Refuses connections beyond `most`; counts refusals, and logs their number at most once a minute."""

    def __init__(self, most: int, log: FilteringBoundLogger, metrics: Metrics, call_later: CallLater) -> None:
        self._most = most
        self._log = log
        self._refusals = metrics.connections_refused
        self._call_later = call_later
        self._open: set[object] = set()
        """Connections that were admitted and not released."""
        self._refused = 0
        """Since the last line about it."""
        self._quiet = False
        """Whether the last line is less than a minute old."""

    def admit(self, connection: object) -> bool:
        """Count `connection` as open. Returns False if `most` are."""
        if len(self._open) < self._most:
            self._open.add(connection)
            return True
        self._refusals.inc()
        self._refused += 1
        if not self._quiet:
            self._report_and_rest()
        return False

    def release(self, connection: object) -> None:
        """Stop counting a connection that is lost; it may have been refused."""
        self._open.discard(connection)

    def report(self) -> None:
        """Log how many were refused since the last line, if any were."""
        if not self._refused:
            return
        self._log.warning(
            "connections_refused",
            refused=self._refused,
            limit=self._most,
            reason="callers have as many connections open as the limit on open files allows (10,000 at "
            "most): reuse connections, or raise that limit",
        )
        self._refused = 0

    def _report_and_rest(self) -> None:
        """Log, and log again when the minute ends, until none was refused in it."""
        self._quiet = self._refused > 0
        if self._quiet:
            self.report()
            self._call_later(LOG_SECONDS, self._report_and_rest)
