"""Every metric's name, meaning and labels; components bind the children that they count on when built."""

import platform
from collections.abc import Callable, Iterable
from weakref import WeakMethod

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.gc_collector import GCCollector
from prometheus_client.registry import Collector

from gateway import __version__

REQUEST_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SHARED_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1)
LAG_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
UPSTREAM_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
CACHE_RESULTS = ("hit", "negative", "stale", "miss", "error")
BATCH_IDS = (1, 2, 5, 10, 25, 50, 100, 200, 300)

# Creation times of series are of no use to operators, and would double the number of series.
disable_created_metrics()  # type: ignore[no-untyped-call]


class _Flushing(Collector):
    """Exports nothing; adds pending counts before the other collectors are read."""

    def __init__(self, flush: Callable[[], None]) -> None:
        self._flush = flush

    def collect(self) -> Iterable[Metric]:
        self._flush()
        return ()

    def describe(self) -> Iterable[Metric]:
        return ()


class Metrics:
    """The metrics of one gateway, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._flushes: list[WeakMethod[Callable[[], None]]] = []
        # Registered first, so that it runs before all others are collected.
        self.registry.register(_Flushing(self.flush))
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._gauge("build_info", "Always 1.", "version", "python").labels(
            __version__, platform.python_version()
        ).set(1)
        self._define_requests()
        self._define_cache()
        self._define_upstream()
        self._define_fetches()
        self._define_keys()
        self._define_process()

    def _define_requests(self) -> None:
        self.http_requests = self._counter(
            "http_requests", "Requests answered on the API listener.", "route", "method", "status"
        )
        self.http_request_duration = self._histogram(
            "http_request_duration_seconds",
            "Time from a request's head to its answer; cache is hit, partial, miss, stale, bypass or none.",
            REQUEST_SECONDS,
            "route",
            "cache",
        )

        self.requests_failed = self._counter(
            "requests_failed",
            "Requests that failed for a reason the availability objective counts: apple, developer_token, "
            "capacity or deadline.",
            "cause",
        )
        self.internal_errors = self._counter(
            "internal_errors",
            "Requests answered 500 because of a fault in the gateway; availability counts them too.",
        )

        self.connections_refused = self._counter(
            "connections_refused",
            "Connections on the API listener that were closed at once, because too many were open.",
        )

    def _define_cache(self) -> None:
        self.cache_ids = self._counter(
            "cache_ids",
            "Ids looked up, once per tier: hit, negative (a fresh 'unrated'), stale, miss or error.",
            "tier",
            "result",
        )
        self.local_cache_entries = self._gauge("local_cache_entries", "Entries in the in-process tier.")
        self.local_cache_bytes = self._gauge("local_cache_bytes", "Estimated bytes of the in-process tier.")
        self.local_cache_evictions = self._counter(
            "local_cache_evictions", "Entries dropped from the in-process tier to stay within its bounds."
        )
        self.shared_cache_duration = self._histogram(
            "shared_cache_duration_seconds", "Round trips to Redis.", SHARED_SECONDS, "operation"
        )
        self.shared_cache_errors = self._counter(
            "shared_cache_errors",
            "Redis operations that failed, attempts to connect included; a failed lookup is a miss.",
            "kind",
        )
        self.subscription_up = self._gauge(
            "subscription_up", "1 while invalidations from other gateways arrive through Redis."
        )

        self.invalidation_lag = self._histogram(
            "invalidation_lag_seconds",
            "Time from the publication of an invalidation to its arrival here, by Redis' clock.",
            LAG_SECONDS,
        )
        self.invalidations_missed = self._counter(
            "invalidations_missed", "Invalidations from other gateways that were missed."
        )
        self.write_visibility_checks = self._counter(
            "write_visibility_checks",
            "Checks, `after` seconds after a write, of what would be served, by result.",
            "after",
            "tier",
            "result",
        )

    def _define_upstream(self) -> None:
        self.upstream_requests = self._counter(
            "upstream_requests",
            "Tries of calls to Apple, by operation and how they ended.",
            "operation",
            "status",
        )
        self.upstream_request_duration = self._histogram(
            "upstream_request_duration_seconds",
            "Duration of tries of calls to Apple.",
            UPSTREAM_SECONDS,
            "operation",
        )
        self.upstream_batch_ids = self._histogram(
            "upstream_batch_ids", "Ids in one call to Apple; a call that is repeated counts once.", BATCH_IDS
        )
        self.upstream_batch_size = self._gauge(
            "upstream_batch_size",
            "Most ids in one call to Apple now; fewer than upstream.max_ids_per_call while Apple refuses "
            "or fails for more.",
        )
        self.upstream_retries = self._counter(
            "upstream_retries", "Tries of calls to Apple after the first.", "reason"
        )
        self.upstream_queue = self._histogram(
            "upstream_queue_seconds", "Time that tries of calls to Apple waited for a slot.", REQUEST_SECONDS
        )
        self.upstream_isolated = self._counter(
            "upstream_isolated",
            "Failed calls to Apple attributed to one id, user or connection, which affect nothing else.",
            "what",
        )
        self.upstream_in_flight = self._gauge("upstream_in_flight", "Calls to Apple in flight.")
        self.upstream_concurrency_limit = self._gauge(
            "upstream_concurrency_limit", "Most calls to Apple in flight at once; adapts to 429s."
        )
        self.upstream_throttled = self._counter("upstream_throttled", "Tries that Apple answered 429.")
        self.breaker_state = self._gauge("breaker_state", "0 closed, 1 half-open, 2 open.", "target")
        self.quarantined_requests = self._counter(
            "quarantined_requests",
            "Requests not sent to Apple because it refused the user token, or failed for this user alone, "
            "moments before.",
        )

    def _define_fetches(self) -> None:
        self.background_refreshes = self._counter(
            "background_refreshes", "Ids refreshed in the background after an answer, by result.", "result"
        )
        self.upstream_top_up_ids = self._counter(
            "upstream_top_up_ids", "Cached ids refreshed in the free seats of calls to Apple."
        )
        self.upstream_top_up_used = self._counter(
            "upstream_top_up_used", "Ids of `upstream_top_up_ids` requested again before they expired."
        )
        self.coalesced_ids = self._counter(
            "coalesced_ids", "Ids that joined a fetch begun by another request."
        )
        self.shadow_checks = self._counter(
            "shadow_checks", "Hits compared with Apple in the background: agree, changed or error.", "result"
        )

    def _define_keys(self) -> None:
        self.developer_token_expiry = self._gauge(
            "developer_token_expiry_timestamp_seconds",
            "When the developer token in use expires, epoch seconds.",
        )
        self.developer_token_mints = self._counter(
            "developer_token_mints", "Developer tokens minted: start, renewal, refused or key.", "reason"
        )
        self.apple_clock_skew = self._gauge(
            "apple_clock_skew_seconds",
            "Seconds that Apple's clock is ahead of this machine's, by its answers.",
        )
        self.config_last_reload_successful = self._gauge(
            "config_last_reload_successful", "0 after a failed reload: the old values stay in use; else 1."
        )
        self.config_last_reload_successful.set(1)
        self.config_last_reload_success = self._gauge(
            "config_last_reload_success_timestamp_seconds",
            "When settings were last read successfully, epoch seconds; initially the start.",
        )

    def _define_process(self) -> None:
        self.event_loop_lag = self._gauge(
            "event_loop_lag_seconds", "Longest delay of a timer in the event loop in the last 15 to 30 s."
        )
        self.log_lines_dropped = self._counter(
            "log_lines_dropped", "Log lines dropped because stdout was not read fast enough, or not writable."
        )

    def before_reading(self, flush: Callable[[], None]) -> None:
        """Call the method `flush`, which adds its object's pending counts, before every reading."""
        self._flushes.append(WeakMethod(flush))

    def flush(self) -> None:
        """Add all pending counts."""
        for reference in list(self._flushes):
            flush = reference()
            if flush is None:
                self._flushes.remove(reference)
            else:
                flush()

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(f"gateway_{name}", documentation, labels, registry=self.registry)

    def _gauge(self, name: str, documentation: str, *labels: str) -> Gauge:
        return Gauge(f"gateway_{name}", documentation, labels, registry=self.registry)

    def _histogram(
        self, name: str, documentation: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(f"gateway_{name}", documentation, labels, buckets=buckets, registry=self.registry)
