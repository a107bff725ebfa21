"""Counters of the API listener; children are bound on first use, `labels()` costs more than counting."""

from collections.abc import Callable

from gateway.telemetry.metrics import Metrics
from gateway.web.exchange import Exchange

KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})


class RequestCounts:
    """Counts each answered request once, by route, method, status and what the cache did."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._counters: dict[tuple[str, str, int], Callable[[], None]] = {}
        self._timers: dict[tuple[str, str], Callable[[float], None]] = {}

    def count(self, exchange: Exchange, now: float) -> None:
        """`now` in monotonic seconds."""
        method = exchange.method if exchange.method in KNOWN_METHODS else "other"
        counted = (exchange.route, method, exchange.status)
        timed = (exchange.route, exchange.cache)
        if counted not in self._counters:
            child = self._metrics.http_requests.labels(exchange.route, method, str(exchange.status))
            self._counters[counted] = child.inc
        if timed not in self._timers:
            self._timers[timed] = self._metrics.http_request_duration.labels(*timed).observe
        self._counters[counted]()
        self._timers[timed](now - exchange.started)
