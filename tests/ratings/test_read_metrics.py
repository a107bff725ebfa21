from gateway.ratings.plan import LookupCounts
from gateway.ratings.read_metrics import TierMetrics
from gateway.telemetry.metrics import Metrics


def test_counts_of_lookups_are_summed_up_by_tier_and_result():
    metrics = Metrics()
    local, shared = TierMetrics(metrics, "local"), TierMetrics(metrics, "shared")

    def sample(tier: str, result: str) -> float | None:
        metrics.flush()
        labels = {"tier": tier, "result": result}
        return metrics.registry.get_sample_value("gateway_cache_ids_total", labels)

    local.add(LookupCounts(hit=1, negative=2, stale=3, miss=4))
    local.add_hits(15, negative=5)
    shared.add(LookupCounts(error=5))
    results = ("hit", "negative", "stale", "miss", "error")
    assert [sample("local", result) for result in results] == [11, 7, 3, 4, 0]
    assert [sample("shared", result) for result in results] == [0, 0, 0, 0, 5]
    local.add(LookupCounts(hit=1))
    assert sample("local", "hit") == 12
