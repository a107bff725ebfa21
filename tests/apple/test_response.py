"""The meaning of Apple's answers; above all, an unsound answer never means "unrated"."""

import json

import msgspec
import pytest

from gateway.apple.response import (
    AppleResponse,
    check_json,
    failure_of,
    read_many,
    retry_after,
    written_resource,
)
from gateway.errors import AppleError, Unusable
from gateway.model import Id, Kind, Rating

ALBUMS = Kind.ALBUMS
ONE, TWO, THREE = Id("1"), Id("2"), Id("3")


def rating(id_: str, value: object = 1, **more) -> dict[str, object]:
    return {
        "attributes": {"value": value},
        "href": f"/v1/me/ratings/albums/{id_}",
        "id": id_,
        "type": "ratings",
        **more,
    }


def answer(*ratings: object, status: int = 200, **more) -> AppleResponse:
    return AppleResponse(status, json.dumps({"data": ratings, **more}).encode())


def errors(status: int, *codes: object, **more) -> AppleResponse:
    listed = [{"id": "A", "title": "T", "status": str(status), "code": code, **more} for code in codes]
    return AppleResponse(status, json.dumps({"errors": listed}).encode())


def read(*answers: AppleResponse, asked: tuple[Id, ...] = (ONE, TWO, THREE)) -> dict[Id, Rating]:
    (only,) = answers
    return read_many(ALBUMS, asked, only)


class TestSound:
    def test_every_id_asked_is_answered_in_that_order_and_absent_ones_are_unrated(self):
        found = read(answer(rating("3", -1), rating("1")))
        assert list(found) == ["1", "2", "3"]
        assert found == {
            ONE: 1,
            TWO: None,
            THREE: -1,
        }

    def test_an_empty_list_means_that_none_is_rated(self):
        assert read(answer()) == {ONE: None, TWO: None, THREE: None}

    def test_a_404_with_apples_envelope_means_that_none_is_rated(self):
        assert read(errors(404, "40400")) == {ONE: None, TWO: None, THREE: None}

    @pytest.mark.parametrize("attributes", [{}, {"note": "x"}])
    def test_a_resource_without_a_value_is_unrated(self, attributes):
        assert read(answer(rating("1") | {"attributes": attributes}))[ONE] is None

    def test_a_resource_without_attributes_is_unrated(self):
        assert read(answer({"id": "1", "type": "ratings", "href": "/x"}))[ONE] is None

    def test_null_says_that_there_is_no_next_page_and_no_error(self):
        assert read(answer(rating("1"), next=None, errors=None))[ONE] is not None

    def test_other_members_beside_data_do_no_harm(self):
        assert read(answer(rating("1"), meta={"total": 1}))[ONE] == 1

    def test_the_same_rating_twice_is_one(self):
        assert read(answer(rating("1"), rating("1")))[ONE] == 1

    def test_pretty_printed_json_is_the_same(self):
        body = json.dumps({"data": [rating("1")]}, indent=4).encode()
        assert read(AppleResponse(200, body))[ONE] == 1

    def test_escapes_do_not_change_what_is_read(self):
        body = json.dumps({"data": [rating("1")]}).replace('"1"', '"\\u0031"').encode()
        assert read(AppleResponse(200, body))[ONE] == 1


class TestWhole:
    @pytest.mark.parametrize(
        "fuller",
        [
            rating("1", relationships={"content": {"data": [{"id": "1", "type": "albums"}]}}),
            rating("1", attributes={"value": 1, "at": "2024-01-01"}),
            rating("1", href="/v1/me/ratings/albums/1?l=de"),
            {"id": "1", "type": "ratings", "attributes": {"value": 1}},
        ],
    )
    def test_a_resource_with_more_or_other_in_it_is_kept_as_apple_sent_it(self, fuller):
        found = read(answer(fuller, rating("2")))
        assert found[ONE] == json.dumps(fuller).encode()
        assert found[TWO] == 1

    def test_numbers_and_texts_keep_their_spelling(self):
        raw = b'{"id":"1","type":"ratings","attributes":{"value":1,"x":1.10e3,"y":"\\u00e9"}}'
        assert read(AppleResponse(200, b'{"data":[' + raw + b"]}"))[ONE] == raw


class TestPrefix:
    def test_the_prefix_is_stripped_from_an_id_that_was_asked_for(self):
        assert read(answer(rating("r.1"), rating("2"))) == {
            ONE: 1,
            TWO: 1,
            THREE: None,
        }

    def test_a_fuller_resource_gets_its_id_and_path_back_and_keeps_the_rest(self):
        path = b'"/v1/me/ratings/albums/r.1"'
        raw = b'{"id":"r.1","type":"ratings","href":' + path + b',"x":1.10,"attributes":{"value":1}}'
        assert read(AppleResponse(200, b'{"data":[' + raw + b"]}"))[ONE] == raw.replace(b"r.1", b"1")

    def test_a_foreign_path_is_left_alone(self):
        found = read(answer(rating("r.1", href="/elsewhere/r.1")))[ONE]
        assert isinstance(found, bytes)
        assert msgspec.json.decode(found) == rating("1", href="/elsewhere/r.1")

    def test_exactly_the_prefix_is_stripped(self):
        with pytest.raises(Unusable):
            read(answer(rating("r.r.1")))

    def test_an_id_that_was_asked_for_with_what_looks_like_a_prefix_stays(self):
        asked = Id("r.1")
        assert read(answer(rating("r.1")), asked=(asked, ONE)) == {
            asked: 1,
            ONE: None,
        }


class TestUnusable:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"<html><body>Service Unavailable</body></html>",
            b'{"data":[{"id":"1","type":"ratings"',
            b"[]",
            b"null",
            b"{}",
            b'{"data":null}',
            b'{"data":{}}',
            b'{"data":[1]}',
            b'{"data":["1"]}',
            b'{"data":[],"data":[]}',
            b'{"data":[{"id":"1","id":"2","type":"ratings","href":"/","attributes":{"value":1}}]}',
            b'{"data":[{"id":"1","type":"ratings","href":"/v1/me/ratings/albums/1","attributes":{"value":1,"value":-1}}]}',
            b'{"data":[],"x":NaN}',
            b'{"data":[{"id":"1","type":"ratings","attributes":{"value":1},"x":"\xff"}]}',
            b'{"data":[' + b"[" * 100_000 + b"]" * 100_000 + b"]}",
            b'{"data":[]}trailing',
        ],
    )
    def test_a_body_that_is_other_shape_of_ratings(self, body):
        with pytest.raises(Unusable) as caught:
            read(AppleResponse(200, body))
        assert caught.value.received_status == 200

    @pytest.mark.parametrize(
        "body",
        [
            b"[]",
            b"{}",
            b'{"data":{}}',
            b'{"data":[{"id":"1","type":"albums"}]}',
            b'{"data":[{"id":"1","type":"ratings"}],"resources":{"ratings":{"1":{}}}}',
        ],
    )
    def test_well_formed_json_that_is_not_a_list_of_ratings_is_of_another_shape(self, body):
        with pytest.raises(Unusable) as caught:
            read(AppleResponse(200, body))
        assert caught.value.other_shape

    @pytest.mark.parametrize(
        "body",
        [
            b'{"data":[',
            b'{"errors":[{}]}',
            b'{"data":[],"next":"/v1"}',
            b'{"data":[{"id":"4","type":"ratings","attributes":{"value":1}}]}',
        ],
    )
    def test_a_broken_or_partial_list_is_not(self, body):
        with pytest.raises(Unusable) as caught:
            read(AppleResponse(200, body))
        assert not caught.value.other_shape

    @pytest.mark.parametrize(
        "bad",
        [
            rating("4"),
            rating("1", 0),
            rating("1", 2),
            rating("1", True),
            rating("1", "1"),
            rating("1", 1.0),
            rating("1", None),
            rating("1", [1]),
            rating("1") | {"type": "albums"},
            rating("1") | {"type": None},
            rating("1") | {"id": 1},
            rating("1") | {"id": None},
            rating("1") | {"attributes": None},
            rating("1") | {"attributes": [1]},
        ],
    )
    def test_one_bad_rating_spoils_the_answer(self, bad):
        with pytest.raises(Unusable):
            read(answer(rating("2"), bad))

    @pytest.mark.parametrize(
        "more", [{"next": "/v1/me/ratings/albums?offset=25"}, {"errors": []}, {"errors": [{}]}]
    )
    def test_an_answer_that_is_not_the_whole(self, more):
        with pytest.raises(Unusable):
            read(answer(rating("1"), **more))

    def test_an_id_twice_with_different_ratings(self):
        with pytest.raises(Unusable):
            read(answer(rating("1", 1), rating("1", -1)))

    def test_an_id_rated_and_unrated_at_once(self):
        with pytest.raises(Unusable):
            read(answer(rating("1"), rating("1") | {"attributes": {}}))

    @pytest.mark.parametrize("status", [201, 202, 204, 206, 302, 600, 999])
    def test_a_status_that_makes_no_sense_for_a_read(self, status):
        with pytest.raises(Unusable) as caught:
            read(answer(rating("1"), status=status))
        assert caught.value.received_status == status

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"<html>Not Found</html>",
            b"{}",
            b'{"errors":[]}',
            b'{"errors":["40400"]}',
            b"[]",
            b'{"errors":{}}',
        ],
    )
    def test_a_404_without_apples_envelope_is_not_unrated(self, body):
        with pytest.raises(Unusable) as caught:
            read(AppleResponse(404, body))
        assert caught.value.received_status == 404


class TestFailure:
    @pytest.mark.parametrize("codes", [("40401",), ("40400", "50000"), (40400,), (["40400"],)])
    def test_a_404_with_another_code_is_not_unrated_either(self, codes):
        with pytest.raises(Unusable) as caught:
            read(errors(404, *codes))
        assert caught.value.received_status == 404

    @pytest.mark.parametrize("status", [400, 401, 403, 429, 500, 503])
    def test_an_error_is_relayed_with_its_status_body_and_code(self, status):
        sent = errors(status, f"{status}42", "99999")
        with pytest.raises(AppleError) as caught:
            read(sent)
        assert (caught.value.status, caught.value.body, caught.value.code) == (
            status,
            sent.body,
            f"{status}42",
        )

    def test_an_empty_401_is_relayed_empty(self):
        failure = failure_of(AppleResponse(401, b""))
        assert isinstance(failure, AppleError)
        assert (failure.status, failure.body, failure.code) == (401, b"", "40100")

    def test_html_is_not_handed_on(self):
        failure = failure_of(AppleResponse(504, b"<html>Gateway Time-out</html>"))
        assert isinstance(failure, AppleError)
        assert (failure.status, failure.body) == (504, b"")

    @pytest.mark.parametrize("body", [b'{"message":"API capacity exceeded"}', b'{"errors":[]}', b"[]"])
    def test_json_without_an_envelope_is_not_handed_on(self, body):
        failure = failure_of(AppleResponse(429, body, 2.0))
        assert isinstance(failure, AppleError)
        assert (failure.body, failure.code, failure.retry_after) == (b"", "42900", 2.0)

    def test_a_403_without_an_envelope_says_nothing_of_the_user_token(self):
        assert failure_of(AppleResponse(403, b"<html>")).code == "40301"

    @pytest.mark.parametrize("body", [b"", b'{"errors":[]}', b'{"errors":[{"code":"40401"}]}'])
    def test_a_404_that_is_not_unrated_is_unusable_and_for_a_delete_has_a_code_of_its_own(self, body):
        assert isinstance(failure_of(AppleResponse(404, body)), Unusable)
        deleted = failure_of(AppleResponse(404, body), deletes=True)
        assert (deleted.status, deleted.code, deleted.received_status) == (404, "40402", 404)

    def test_an_unrated_404_to_a_delete_is_relayed(self):
        unrated = errors(404, "40400")
        assert failure_of(unrated, deletes=True).body == unrated.body  # type: ignore[attr-defined]


class TestBlamed:
    @pytest.mark.parametrize(
        ("source", "blamed"),
        [
            ({"parameter": "ids"}, "ids"),
            ({"pointer": "/ids/3"}, "ids"),
            ({"parameter": "l"}, "l"),
            ({"pointer": "/idsomething"}, "/idsomething"),
            ({}, None),
            ("ids", None),
        ],
    )
    def test_the_source_of_an_error_is_read_from_parameter_or_pointer(self, source, blamed):
        failure = failure_of(errors(400, "40005", source=source))
        assert isinstance(failure, AppleError)
        assert failure.blamed == blamed

    def test_an_error_that_blames_the_ids_outweighs_others(self):
        body = b'{"errors":[{"source":{"parameter":"l"}},{"source":{"parameter":"ids"}}]}'
        failure = failure_of(AppleResponse(400, body))
        assert isinstance(failure, AppleError)
        assert failure.blamed == "ids"


class TestPut:
    def test_apples_resource_is_taken_where_it_says_what_was_written(self):
        fuller = rating("1", relationships={})
        assert written_resource(ALBUMS, ONE, 1, answer(fuller).body) == json.dumps(fuller).encode()

    @pytest.mark.parametrize("body", [b"", b"{}", b'{"data":[]}', b'{"message":"accepted"}', b"null", b"[]"])
    def test_a_success_that_names_no_rating_stands_for_what_was_written(self, body):
        assert written_resource(ALBUMS, ONE, -1, body) == -1

    def test_so_does_one_that_maps_the_rating(self):
        mapped = {"ratings": {"1": rating("1", -1)}}
        body = answer({"id": "1", "type": "ratings"}, resources=mapped).body
        assert written_resource(ALBUMS, ONE, -1, body) == -1

    @pytest.mark.parametrize(
        "contradiction",
        [
            answer(rating("1", -1)),
            answer(rating("2")),
            answer({**rating("1"), "attributes": {}}),
            answer(rating("1"), errors=[{}]),
            answer(errors=[{}]),
            AppleResponse(200, b"<html>"),
        ],
    )
    def test_nothing_is_concluded_from_an_answer_that_says_something_else(self, contradiction):
        assert written_resource(ALBUMS, ONE, 1, contradiction.body) is None


class TestCheckJson:
    @pytest.mark.parametrize("body", [b"", b'{"data":[]}', b"[]"])
    def test_json_and_nothing_pass(self, body):
        check_json(AppleResponse(200, body))

    def test_anything_else_is_unusable(self):
        with pytest.raises(Unusable) as caught:
            check_json(AppleResponse(200, b"<html>"))
        assert caught.value.received_status == 200


class TestRetryAfter:
    NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("2", 2.0),
            (" 120 ", 120.0),
            ("0", 0.0),
            ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
            ("Tue, 14 Nov 2023 22:13:00 GMT", 0.0),
            ("1000000000", 86_400.0),
            ("9" * 1000, 86_400.0),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400.0),
        ],
    )
    def test_both_forms_are_understood(self, text, seconds):
        assert retry_after(text, self.NOW) == seconds

    @pytest.mark.parametrize("text", [None, "", "soon", "-5", "1.5", "²", "Tue, 99 Nov 2023 22:13:50 GMT"])
    def test_what_says_nothing_is_none(self, text):
        assert retry_after(text, self.NOW) is None
