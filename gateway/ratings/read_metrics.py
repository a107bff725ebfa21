"""Counts of lookups by tier and result: summed up here, and exported when metrics are read."""

from gateway.ratings.plan import LookupCounts
from gateway.telemetry.metrics import CACHE_RESULTS, Metrics


class TierMetrics:
    """`cache_ids_total` of one tier; each id counts once per request that consulted the tier."""

    def __init__(self, metrics: Metrics, tier: str) -> None:
        self._counters = {result: metrics.cache_ids.labels(tier, result) for result in CACHE_RESULTS}
        self._sum = LookupCounts()
        metrics.before_reading(self._flush)

    def add(self, counted: LookupCounts) -> None:
        """Count the tier's answers for one request's ids."""
        self._sum.add(counted)

    def add_hits(self, ids: int, negative: int) -> None:
        """Count a request that the tier answered as a whole; `negative` of its ids are unrated."""
        self._sum.hit += ids - negative
        self._sum.negative += negative

    def _flush(self) -> None:
        summed, self._sum = self._sum, LookupCounts()
        for result, counter in self._counters.items():
            counter.inc(getattr(summed, result))


class ReadMetrics:
    """What reads count, besides the answers."""

    def __init__(self, metrics: Metrics) -> None:
        self.memory = TierMetrics(metrics, "local")
        self.shared = TierMetrics(metrics, "shared")
        self.top_up_used = metrics.upstream_top_up_used
        """Hits on ids that were refreshed along with others."""
