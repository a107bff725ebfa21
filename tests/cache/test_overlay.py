import json

from gateway.cache.overlay import overlay
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
