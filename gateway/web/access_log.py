"""What is done for a request when its answer is out: it is counted, and told in the log.

A moment later, and many at a time: next to one another the same lines cost less than they do between two
system calls (docs/performance.md).
"""

import asyncio
import time

from gateway.telemetry.logs import RequestLog
from gateway.telemetry.metrics import Metrics
from gateway.web.counting import RequestCounts
from gateway.web.request_record import RequestRecord

FLUSH_SECONDS = 0.05
FLUSH_REQUESTS = 256


class AccessLog:
    """Takes answered requests. Whoever reads the metrics finds all of them counted."""

    def __init__(self, metrics: Metrics, log: RequestLog | None) -> None:
        self._counts = RequestCounts(metrics)
        self._log = log
        self._answered: list[tuple[RequestRecord, float, float, bool]] = []
        self._later = asyncio.get_running_loop().call_later
        metrics.before_reading(self.flush)

    def add(self, exchange: RequestRecord, now: float, *, logged: bool) -> None:
        """The request was answered at `now` (monotonic seconds)."""
        self._answered.append((exchange, now, time.time(), logged))
        if len(self._answered) == 1:
            self._later(FLUSH_SECONDS, self.flush)
        elif len(self._answered) >= FLUSH_REQUESTS:
            self.flush()

    def flush(self) -> None:
        """Count and tell what was answered until now."""
        answered, self._answered = self._answered, []
        self._counts.count((exchange, now) for exchange, now, _, _ in answered)
        if self._log is not None:
            self._log([(at, exchange.line(now)) for exchange, now, at, logged in answered if logged])
