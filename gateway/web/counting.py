"""Counters of the API listener; children are bound on first use, `labels()` costs more than counting."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from gateway.telemetry.metrics import Metrics
from gateway.web.request_record import RequestRecord

KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})

_Labels = tuple[str, str, int, str]
"""Route, method, status, and what the cache did."""


class _Bound(NamedTuple):
    """The children that requests of the same labels are counted on."""

    add: Callable[[float], None]
    observe: Callable[[float], None]


class RequestCounts:
    """Counts each answered request once, by route, method, status and what the cache did."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._bound: dict[_Labels, _Bound] = {}

    def count(self, answered: Iterable[tuple[RequestRecord, float]]) -> None:
        """Count requests, each with when it was answered (monotonic seconds)."""
        totals: Counter[_Labels] = Counter()
        for exchange, now in answered:
            method = exchange.method if exchange.method in KNOWN_METHODS else "other"
            labels = (exchange.route, method, exchange.status, exchange.cache)
            totals[labels] += 1
            if labels not in self._bound:
                self._bound[labels] = self._bind(*labels)
            self._bound[labels].observe(now - exchange.started)
        for labels, total in totals.items():
            self._bound[labels].add(total)

    def _bind(self, route: str, method: str, status: int, cache: str) -> _Bound:
        return _Bound(
            self._metrics.http_requests.labels(route, method, str(status)).inc,
            self._metrics.http_request_duration.labels(route, cache).observe,
        )
