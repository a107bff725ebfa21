"""The histogram of our own beside the library's."""

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from gateway.telemetry.histogram import Histogram

BOUNDS = (0.001, 0.5, 1, 10)

AMOUNTS = st.one_of(st.sampled_from(BOUNDS), st.floats(0, 100))


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), AMOUNTS)))
def test_it_shows_what_the_librarys_shows(observed):
    pages = []
    for kind in (Histogram, prometheus_client.Histogram):
        registry = CollectorRegistry()
        histogram = kind("some_seconds", "Some.", ("one", "two"), buckets=BOUNDS, registry=registry)
        for one, two, amount in observed:
            histogram.labels(one, two).observe(amount)
        pages.append(generate_latest(registry))
    assert pages[0] == pages[1]


def test_without_labels_it_is_shown_from_the_start():
    registry = CollectorRegistry()
    Histogram("some_ids", "Some.", (), buckets=BOUNDS, registry=registry).observe(2)
    assert registry.get_sample_value("some_ids_bucket", {"le": "10.0"}) == 1
    assert registry.get_sample_value("some_ids_sum") == 2


def test_two_of_one_name_are_refused():
    registry = CollectorRegistry()
    Histogram("some_ids", "Some.", (), buckets=BOUNDS, registry=registry)
    with pytest.raises(ValueError, match="some_ids"):
        Histogram("some_ids", "Some.", (), buckets=BOUNDS, registry=registry)


def test_labels_are_counted():
    histogram = Histogram("some_ids", "Some.", ("one",), buckets=BOUNDS, registry=CollectorRegistry())
    with pytest.raises(ValueError, match="some_ids has the labels one"):
        histogram.labels("a", "b")
