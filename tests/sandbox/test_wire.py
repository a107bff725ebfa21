"""Requests as they are parsed, and answers as they leave: whole, truncated, slowly, or not at all."""

import json
from inspect import isawaitable

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from yarl import URL

from gateway.model import Kind
from gateway.sandbox import SlowBody, Truncate, wire
from gateway.sandbox.answers import SandboxAnswer
from gateway.sandbox.api import Favorites, RatingsRequest
from tests.sandbox.conftest import HandClock

BODY = b'{"data":[1,2,3]}'
ANSWER = SandboxAnswer(200, BODY)


def parsed(path: str, *, method: str = "GET", body: bytes = b"", **headers: str) -> RatingsRequest:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    type_, _, id_ = URL(path).path.lstrip("/").partition("/")
    matched = {"type": type_, "id": id_} if id_ else {"type": type_}
    http = make_mocked_request(method, path, headers=named, match_info=matched)
    return wire.parsed(http, body)


@pytest.mark.parametrize("query", ["ids=1&ids=2", "ids=1,2", "ids=1%2C2", "ids=%201,,+2,"])
def test_ids_may_be_repeated_encoded_or_surrounded_by_blanks(query):
    request = parsed(f"/albums?{query}")
    assert (request.ids, request.has_ids, request.id) == (("1", "2"), True, None)


@pytest.mark.parametrize(("query", "has_ids"), [("", False), ("?ids=", True), ("?ids=,%20,", True)])
def test_missing_ids_differ_from_empty_ones(query, has_ids):
    request = parsed(f"/albums{query}")
    assert (request.ids, request.has_ids) == ((), has_ids)


def test_an_id_in_the_path_is_the_only_id():
    request = parsed("/songs/7", method="PUT", body=b"{}", Music_User_Token="ada")
    assert (request.method, request.kind, request.id, request.ids) == ("PUT", Kind.SONGS, "7", ("7",))
    assert (request.body, request.user_token) == (b"{}", "ada")


def test_the_user_token_has_two_names():
    assert parsed("/albums?ids=1", Music_User_Token="ada").user_token == "ada"
    assert parsed("/albums?ids=1", Media_User_Token="ada").user_token == "ada"


def test_head_is_read_as_get():
    assert parsed("/albums?ids=1", method="HEAD").method == "GET"


def test_a_type_that_has_no_ratings_is_kept_as_text():
    request = parsed("/artists?ids=1")
    assert (request.type, request.kind) == ("artists", None)


def test_include_is_a_set_and_language_a_text():
    request = parsed("/songs?ids=1&include=content,x&include=y&l=de")
    assert request.include == {"content", "x", "y"}
    assert request.language == "de"
    assert parsed("/songs?ids=1").language is None


def test_favorites_name_the_type_of_each_id():
    http = make_mocked_request("POST", "/v1/me/favorites?ids[albums]=1,+2&ids[songs]=3&ids=4&l=de")
    assert wire.favorites(http) == Favorites(
        method="POST", ids=(("albums", "1"), ("albums", "2"), ("songs", "3")), user_token=None
    )


def test_other_parameters_are_sorted_and_exclude_ids():
    http = make_mocked_request("GET", "/albums?l=de&ids=1&include=content&ids[songs]=2")
    assert wire.other_parameters(http) == "include=content&l=de"


@pytest.fixture
def get(aiohttp_client):
    """Read what `answer` answers: status and body."""

    async def get(answer):
        async def handle(http: web.Request) -> web.StreamResponse:
            answered = answer(http)
            response: web.StreamResponse = await answered if isawaitable(answered) else answered
            return response

        application = web.Application()
        application.router.add_get("/", handle)
        response = await (await aiohttp_client(application)).get("/")
        return response.status, await response.read()

    return get


async def test_a_whole_answer_has_status_headers_and_body(get):
    assert await get(lambda _: wire.whole(SandboxAnswer(404, BODY))) == (404, BODY)


async def test_a_truncated_body_ends_before_its_length(get):
    with pytest.raises(aiohttp.ClientPayloadError):
        await get(lambda http: wire.truncated(http, ANSWER, Truncate()))


async def test_an_honestly_truncated_body_is_incomplete_json(get):
    status, body = await get(lambda http: wire.truncated(http, ANSWER, Truncate(keep=0.5, honest=True)))
    assert (status, body) == (200, BODY[:8])
    with pytest.raises(json.JSONDecodeError):
        json.loads(body)


@pytest.mark.parametrize("body", [BODY, b"x", b""])
async def test_a_slow_body_arrives_complete(get, body):
    clock = HandClock()
    effect = SlowBody(4, pieces=4)
    assert await get(lambda http: wire.slow(http, SandboxAnswer(200, body), effect, clock.sleep)) == (
        200,
        body,
    )


async def test_a_slow_body_pauses_before_each_piece(get):
    clock = HandClock()
    await get(lambda http: wire.slow(http, ANSWER, SlowBody(4, pieces=4), clock.sleep))
    assert clock.slept == [1.0] * 4


async def test_a_reset_connection_has_no_answer(get):
    with pytest.raises(aiohttp.ClientConnectionError):
        await get(wire.reset)
