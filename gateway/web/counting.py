"""Counters of the API listener; children are bound on first use, `labels()` costs more than counting."""

from collections import Counter
from collections.abc import Callable, Iterable

from gateway.telemetry.metrics import Metrics
from gateway.web.exchange import Exchange

KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})

_Labels = tuple[str, str, int, str]


class RequestCounts:
    """Counts each answered request once, by route, method, status and what the cache did."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._bound: dict[_Labels, tuple[Callable[[float], None], Callable[[float], None]]] = {}

    def count(self, answered: Iterable[tuple[Exchange, float]]) -> None:
        """Count requests, each with when it was answered (monotonic seconds)."""
        totals: Counter[_Labels] = Counter()
        for exchange, now in answered:
            method = exchange.method if exchange.method in KNOWN_METHODS else "other"
            labels = (exchange.route, method, exchange.status, exchange.cache)
            totals[labels] += 1
            if labels not in self._bound:
                self._bound[labels] = self._bind(*labels)
            self._bound[labels][1](now - exchange.started)
        for labels, total in totals.items():
            self._bound[labels][0](total)

    def _bind(
        self, route: str, method: str, status: int, cache: str
    ) -> tuple[Callable[[float], None], Callable[[float], None]]:
        return (
            self._metrics.http_requests.labels(route, method, str(status)).inc,
            self._metrics.http_request_duration.labels(route, cache).observe,
        )
