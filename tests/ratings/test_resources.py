import json

import pytest

from gateway.model import Id, Kind, Rating
from gateway.ratings.resources import overlay, render

ONE, TWO, THREE = Id("1"), Id("2"), Id("3")
FULLER = b'{"id":"1","attributes":{"value":1,"more":"x"},"relationships":{"content":{}}}'


def plain(id_: Id, value: int) -> dict[str, object]:
    return {
        "id": id_,
        "type": "ratings",
        "href": f"/v1/me/ratings/albums/{id_}",
        "attributes": {"value": value},
    }


class TestRender:
    def test_plain_ratings_are_rendered_as_apple_does(self):
        listed = render(Kind.ALBUMS, [ONE, TWO], [1, -1])
        assert json.loads(b"[" + listed + b"]") == [plain(ONE, 1), plain(TWO, -1)]

    def test_resources_with_more_fields_stay_byte_for_byte_between_plain_ones(self):
        listed = render(Kind.ALBUMS, [TWO, ONE, THREE], [-1, FULLER, 1])
        assert FULLER in listed
        assert json.loads(b"[" + listed + b"]") == [plain(TWO, -1), json.loads(FULLER), plain(THREE, 1)]

    @pytest.mark.parametrize("rated", [1, FULLER], ids=["plain", "fuller"])
    def test_unrated_ids_are_left_out(self, rated):
        listed = render(Kind.ALBUMS, [TWO, ONE, THREE], [None, rated, None])
        assert [resource["id"] for resource in json.loads(b"[" + listed + b"]")] == [ONE]

    @pytest.mark.parametrize("ids", [[], [ONE, TWO]])
    def test_nothing_is_rendered_if_no_id_is_rated(self, ids):
        assert render(Kind.ALBUMS, ids, [None] * len(ids)) == b""


class TestOverlay:
    def shown(self, written: Rating, reported: Rating) -> object:
        overlaid = overlay(written, reported)
        assert isinstance(overlaid, bytes)
        return json.loads(overlaid)

    @pytest.mark.parametrize("reported", [1, FULLER])
    def test_a_written_removal_hides_the_reported_rating(self, reported):
        assert overlay(None, reported) is None

    @pytest.mark.parametrize("reported", [None, 1])
    def test_a_written_rating_replaces_no_rating_and_a_plain_one(self, reported):
        assert overlay(-1, reported) == -1

    @pytest.mark.parametrize(
        "written", [-1, b'{"id":"1","attributes":{"value":-1}}'], ids=["plain", "fuller"]
    )
    def test_a_written_rating_replaces_the_reported_value_and_leaves_other_fields(self, written):
        assert self.shown(written, FULLER) == {
            "id": "1",
            "attributes": {"value": -1, "more": "x"},
            "relationships": {"content": {}},
        }

    def test_a_reported_resource_without_attributes_gets_the_written_ones(self):
        assert self.shown(-1, b'{"id":"1","attributes":null}') == {"id": "1", "attributes": {"value": -1}}
