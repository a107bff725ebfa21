import json

import pytest

from gateway.cache.holds import ends_of, held_entries, overlay, undisputed
from gateway.cache.redis import SharedLookup
from gateway.cache.redis.values import Found
from gateway.cache.write_rule import StoredRating
from gateway.model import Id, Kind, plain_resource

WRITTEN = plain_resource(Kind.ALBUMS, Id("1"), -1)


def test_a_written_absence_hides_what_apple_still_reports():
    assert overlay(None, b'{"id":"1"}') is None


def test_a_written_value_stands_where_apple_reports_none():
    assert overlay(WRITTEN, None) == WRITTEN


def test_a_written_value_replaces_the_reported_one_and_leaves_the_rest():
    reported = b'{"id":"1","attributes":{"value":1,"more":"x"},"relationships":{"content":{}}}'
    shown = overlay(WRITTEN, reported)
    assert shown is not None
    assert json.loads(shown) == {
        "id": "1",
        "attributes": {"value": -1, "more": "x"},
        "relationships": {"content": {}},
    }


def test_a_reported_resource_without_attributes_gets_the_written_one():
    shown = overlay(WRITTEN, b'{"id":"1","attributes":null}')
    assert shown is not None
    assert json.loads(shown)["attributes"] == {"value": -1}


HELD = {Id("1"): StoredRating(WRITTEN, 100.0, 110.0)}


@pytest.mark.parametrize(
    ("lookup", "stands"),
    [
        (SharedLookup(), True),
        (SharedLookup(version=b"1"), True),
        (SharedLookup(version=b"1", held={Id("1"): None}), False),
        (SharedLookup(version=b"1", marks={Id("1"): b"7"}), False),
        (SharedLookup(version=b"1", marks={Id("1"): b"7"}, late=frozenset([Id("1")])), True),
    ],
    ids=["Redis is away", "Redis knows nothing", "written again", "being written again", "heard of it late"],
)
def test_a_written_value_stands_unless_redis_knows_of_a_later_write(lookup, stands):
    assert undisputed(HELD, lookup) == (HELD if stands else {})


def test_a_held_value_is_fresh_for_as_long_as_it_is_held():
    entry = held_entries(HELD)[Id("1")]
    assert (entry.resource, entry.known_at, entry.fresh_until) == (WRITTEN, 100.0, 110.0)


def test_a_hold_ends_when_whoever_knows_of_it_says():
    lookup = SharedLookup(
        version=b"1",
        held={Id("2"): None},
        found={Id("2"): Found(None, 3.0, held=True, held_seconds=7.0), Id("3"): Found(None, 3.0)},
    )
    assert ends_of(HELD, lookup, 101.0) == {Id("1"): 110.0, Id("2"): 108.0}
    assert ends_of(HELD, None, 101.0) == {Id("1"): 110.0}
