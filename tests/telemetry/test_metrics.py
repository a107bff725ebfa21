"""The registry of one gateway: its names, and counts that are added up elsewhere until a scrape."""

import gc
import platform
import re

import pytest
from prometheus_client import Counter, generate_latest

from gateway import __version__
from gateway.telemetry.metrics import Metrics

SENTENCE = re.compile(r"[A-Z0-9](?:[^.\n]|\.(?=\S))*\.")
"""Begins with a capital or a number, and its only full stop is the last character."""


class Pending:
    """Adds up by itself and counts in the registry when flushed."""

    def __init__(self, counter: Counter) -> None:
        self.counter = counter
        self.pending = 0

    def flush(self) -> None:
        self.counter.inc(self.pending)
        self.pending = 0


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def test_every_metric_has_the_prefix_except_those_of_the_process(metrics):
    families = {family.name for family in metrics.registry.collect()}
    assert {"gateway_http_requests", "process_open_fds", "python_gc_collections"} <= families
    others = {name for name in families if not name.startswith("gateway_")}
    assert {name.partition("_")[0] for name in others} == {"process", "python"}


def test_every_metric_has_a_help_text_of_one_sentence(metrics):
    texts = {
        family.name: family.documentation
        for family in metrics.registry.collect()
        if family.name.startswith("gateway_")
    }
    assert {name for name, text in texts.items() if not SENTENCE.fullmatch(text)} == set()


def test_two_gateways_of_one_process_count_apart(metrics):
    metrics.upstream_throttled.inc()
    other = Metrics()
    assert metrics.registry.get_sample_value("gateway_upstream_throttled_total") == 1
    assert other.registry.get_sample_value("gateway_upstream_throttled_total") == 0


def test_versions_of_gateway_and_python_are_labels_of_a_metric(metrics):
    labels = {"version": __version__, "python": platform.python_version()}
    assert metrics.registry.get_sample_value("gateway_build_info", labels) == 1


def test_no_series_says_when_another_was_created(metrics):
    metrics.http_requests.labels("/v1/me/ratings/{type}", "GET", "200").inc()
    assert "_created" not in generate_latest(metrics.registry).decode()


def test_the_last_reload_counts_as_successful_from_the_start(metrics):
    assert metrics.registry.get_sample_value("gateway_config_last_reload_successful") == 1


def test_a_scrape_includes_what_was_added_up_elsewhere(metrics):
    pending = Pending(metrics.coalesced_ids)
    metrics.before_reading(pending.flush)
    pending.pending = 3
    assert "gateway_coalesced_ids_total 3.0" in generate_latest(metrics.registry).decode()
    pending.pending = 2
    metrics.flush()
    assert metrics.registry.get_sample_value("gateway_coalesced_ids_total") == 5


def test_an_object_that_is_gone_is_not_asked_again(metrics):
    gone, kept = Pending(metrics.coalesced_ids), Pending(metrics.coalesced_ids)
    metrics.before_reading(gone.flush)
    metrics.before_reading(kept.flush)
    gone.pending, kept.pending = 4, 1
    del gone
    gc.collect()
    metrics.flush()
    assert metrics.registry.get_sample_value("gateway_coalesced_ids_total") == 1
