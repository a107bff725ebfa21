import re
from random import Random

import msgspec
import pytest

from gateway.model import Kind
from gateway.sandbox import answers


def error_of(answer: answers.SandboxAnswer) -> dict[str, object]:
    (error,) = msgspec.json.decode(answer.body)["errors"]
    return dict(error)


@pytest.mark.parametrize(
    "problem",
    [
        answers.RESOURCE_NOT_FOUND,
        answers.INVALID_AUTHENTICATION,
        answers.NO_SUBSCRIPTION,
        answers.MISSING_IDS,
        answers.EMPTY_IDS,
        answers.too_many_ids(100, 101),
        answers.invalid_ids(Kind.ALBUMS, ["x"]),
        answers.invalid_path_id(Kind.ALBUMS, "x"),
        answers.unknown_type("artists"),
        answers.invalid_body("why", "/type"),
        answers.method_not_allowed("GET"),
        answers.generic(504),
    ],
    ids=lambda problem: problem.code,
)
def test_every_error_has_apples_envelope(problem):
    answer = answers.refusal(problem, Random(1))
    error = error_of(answer)
    assert re.fullmatch("[A-Z0-9]{26}", str(error["id"]))
    assert (error["status"], error["code"]) == (str(answer.status), problem.code)
    assert all(isinstance(error[name], str) for name in ("title", "detail", "status", "code"))


def test_no_two_errors_have_the_same_id():
    random = Random(1)
    ids = {error_of(answers.refusal(answers.EMPTY_IDS, random))["id"] for _ in range(50)}
    assert len(ids) == 50


def test_an_error_without_a_source_omits_it():
    assert "source" not in error_of(answers.refusal(answers.RESOURCE_NOT_FOUND, Random(1)))
    assert error_of(answers.refusal(answers.EMPTY_IDS, Random(1)))["source"] == {"parameter": "ids"}


def test_a_405_has_an_allow_header():
    assert answers.refusal(answers.method_not_allowed("GET, PUT"), Random(1)).headers["Allow"] == "GET, PUT"


@pytest.mark.parametrize(("status", "code"), [(403, "40300"), (404, "40400"), (500, "50000"), (599, "59900")])
def test_a_status_without_a_specific_error_has_a_code(status, code):
    assert answers.generic(status).code == code


def test_ratings_are_rendered_in_order():
    document = msgspec.json.decode(answers.ratings(Kind.SONGS, {"2": -1, "1": 1}))
    assert document == {
        "data": [
            {"id": "2", "type": "ratings", "href": "/v1/me/ratings/songs/2", "attributes": {"value": -1}},
            {"id": "1", "type": "ratings", "href": "/v1/me/ratings/songs/1", "attributes": {"value": 1}},
        ]
    }


def test_no_ratings_are_an_empty_list():
    assert answers.ratings(Kind.SONGS, {}) == b'{"data":[]}'


@pytest.mark.parametrize(
    ("kind", "href"),
    [(Kind.SONGS, "/v1/catalog/us/songs/1"), (Kind.LIBRARY_SONGS, "/v1/me/library/songs/1")],
)
def test_content_is_the_resource_that_was_rated(kind, href):
    document = msgspec.json.decode(answers.ratings_with_content(kind, {"1": 1}, None))
    content = document["data"][0]["relationships"]["content"]
    assert content["href"] == f"/v1/me/ratings/{kind}/1/content"
    assert content["data"] == [{"id": "1", "type": kind, "href": href, "attributes": {"name": "songs 1"}}]


def test_content_is_in_the_requested_language():
    document = msgspec.json.decode(answers.ratings_with_content(Kind.SONGS, {"1": 1}, "de-DE"))
    assert "de-DE" in document["data"][0]["relationships"]["content"]["data"][0]["attributes"]["name"]
