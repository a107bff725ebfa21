from random import Random
from typing import Any

import msgspec
import pytest

from gateway.model import Kind
from gateway.sandbox.answers import SandboxAnswer
from gateway.sandbox.api import RatingsApi, RatingsRequest
from gateway.sandbox.shipped import ADA, BEN, CLEO, PAIRS, REVOKED, UNSUBSCRIBED, stock
from gateway.sandbox.store import RatingStore

IDS = {
    Kind.ALBUMS: "1",
    Kind.SONGS: "1",
    Kind.MUSIC_VIDEOS: "1",
    Kind.PLAYLISTS: "pl.u-1",
    Kind.STATIONS: "ra.1",
    Kind.LIBRARY_ALBUMS: "l.1",
    Kind.LIBRARY_SONGS: "i.1",
    Kind.LIBRARY_PLAYLISTS: "p.1",
    Kind.LIBRARY_MUSIC_VIDEOS: "i.1",
}


@pytest.fixture
def api() -> RatingsApi:
    store = RatingStore()
    stock(store)
    return RatingsApi(store, max_ids=3, random=Random(1))


def a_request(method: str, type_: str, *ids: str, many: bool = False, **changes: Any) -> RatingsRequest:
    request = RatingsRequest(
        method=method,
        type=type_,
        kind=Kind(type_) if type_ in set(Kind) else None,
        id=None if many else ids[0],
        ids=ids,
        has_ids=many,
        include=frozenset(),
        language=None,
        user_token=ADA,
    )
    return msgspec.structs.replace(request, **changes)


def ask(api: RatingsApi, *request: str, now: float = 0.0, lag: float = 0.0, **changes: Any) -> SandboxAnswer:
    return api.answer(a_request(*request, **changes), now=now, lag=lag)


def body(value: Any = 1, **members: Any) -> bytes:
    return msgspec.json.encode({"attributes": {"value": value}, **members})


def error(answer: SandboxAnswer) -> dict[str, Any]:
    return dict(msgspec.json.decode(answer.body)["errors"][0])


def ids(answer: SandboxAnswer) -> list[str]:
    return [resource["id"] for resource in msgspec.json.decode(answer.body)["data"]]


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("value", [1, -1])
def test_every_type_is_rated_read_and_unrated(api, kind, value):
    id_ = IDS[kind]
    assert ask(api, "GET", kind, id_).status == 404
    written = ask(api, "PUT", kind, id_, body=body(value))
    assert (written.status, ask(api, "GET", kind, id_).body) == (200, written.body)
    assert ask(api, "GET", kind, id_, many=True).body == written.body
    assert ask(api, "DELETE", kind, id_) == SandboxAnswer(204, headers={})
    assert ask(api, "GET", kind, id_, many=True).body == b'{"data":[]}'


def test_one_unrated_id_is_40400(api):
    assert error(ask(api, "GET", "albums", "9"))["code"] == "40400"


def test_unrated_ids_are_absent_among_many(api):
    assert ids(ask(api, "GET", "albums", "475655712", "9", "1138988512", many=True)) == [
        "475655712",
        "1138988512",
    ]


def test_removing_a_rating_that_does_not_exist_is_204(api):
    assert ask(api, "DELETE", "albums", "9").status == 204


@pytest.mark.parametrize("type_", ["rating", "ratings", None])
def test_the_type_in_a_body_may_be_either_name_or_absent(api, type_):
    members = {} if type_ is None else {"type": type_}
    assert ask(api, "PUT", "albums", "9", body=body(-1, **members)).status == 200


@pytest.mark.parametrize(
    ("sent", "pointer"),
    [
        (b"", ""),
        (b"\xff", ""),
        (b"[1]", ""),
        (b'{"type":"albums","attributes":{"value":1}}', "/type"),
        (b"{}", "/attributes"),
        (b'{"attributes":1}', "/attributes"),
        (b'{"attributes":{}}', "/attributes/value"),
        (b'{"attributes":{"value":0}}', "/attributes/value"),
        (b'{"attributes":{"value":"1"}}', "/attributes/value"),
        (b'{"attributes":{"value":true}}', "/attributes/value"),
        (b'{"attributes":{"value":1.0}}', "/attributes/value"),
    ],
)
def test_an_invalid_body_is_40006_and_changes_nothing(api, sent, pointer):
    refused = ask(api, "PUT", "albums", "9", body=sent)
    assert (refused.status, error(refused)["code"]) == (400, "40006")
    assert error(refused)["source"] == {"pointer": pointer}
    assert ask(api, "GET", "albums", "9").status == 404


@pytest.mark.parametrize(
    ("asked", "has_ids", "code"), [((), False, "40003"), ((), True, "40005"), (("1", "l.1"), True, "40005")]
)
def test_bad_ids_are_named(api, asked, has_ids, code):
    refused = error(ask(api, "GET", "albums", *asked, many=True, has_ids=has_ids))
    assert (refused["code"], refused["source"]) == (code, {"parameter": "ids"})


def test_only_more_ids_than_the_limit_are_refused(api):
    assert ask(api, "GET", "albums", "1", "2", "3", many=True).status == 200
    refused = ask(api, "GET", "albums", "1", "2", "3", "4", many=True)
    assert (refused.status, error(refused)["source"]) == (400, {"parameter": "ids"})


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_an_id_of_another_kind_in_the_path_is_an_invalid_path_value(api, method):
    refused = ask(api, method, "albums", "l.1", body=body())
    assert (refused.status, error(refused)["title"]) == (400, "Invalid Path Value")


def test_an_unknown_type_is_40008(api):
    refused = error(ask(api, "GET", "artists", "1"))
    assert (refused["code"], refused["detail"]) == ("40008", "Unknown resource type 'artists'")


@pytest.mark.parametrize(("many", "allowed"), [(True, "GET, HEAD"), (False, "GET, HEAD, PUT, DELETE")])
def test_another_method_is_405(api, many, allowed):
    refused = ask(api, "POST", "albums", "1", many=many)
    assert (refused.status, refused.headers["Allow"]) == (405, allowed)


@pytest.mark.parametrize(
    ("token", "status", "code"),
    [
        (None, 403, "40300"),
        ("x", 403, "40300"),
        ("ada", 403, "40300"),
        (REVOKED, 403, "40300"),
        (UNSUBSCRIBED, 400, "40015"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_unknown_revoked_and_unsubscribed_users_are_refused(api, method, token, status, code):
    refused = ask(api, method, "albums", "1138988512", user_token=token, body=body())
    assert (refused.status, error(refused)["code"]) == (status, code)


def test_users_do_not_share_ratings(api):
    shown = [
        ask(api, "GET", "albums", "1138988512", many=True, user_token=token).body
        for token in (ADA, BEN, CLEO)
    ]
    assert len(set(shown)) == 3


@pytest.mark.parametrize(("kind", "catalog_id", "library_id"), PAIRS)
def test_catalog_and_library_ratings_stay_in_step(api, kind, catalog_id, library_id):
    ask(api, "PUT", kind.paired, library_id, body=body(-1), user_token=CLEO)
    assert b'"value":-1' in ask(api, "GET", kind, catalog_id, user_token=CLEO).body
    ask(api, "DELETE", kind, catalog_id, user_token=CLEO)
    assert ask(api, "GET", kind.paired, library_id, user_token=CLEO).status == 404


def test_a_write_answers_the_new_value_although_reads_lag(api):
    written = ask(api, "PUT", "albums", "1138988512", body=body(-1), lag=5)
    assert b'"value":-1' in written.body
    assert b'"value":1' in ask(api, "GET", "albums", "1138988512", now=4).body
    assert b'"value":-1' in ask(api, "GET", "albums", "1138988512", now=5).body


def test_content_is_included_only_on_request(api):
    plain, rich = (
        ask(api, "GET", "albums", "1138988512", include=frozenset(include)) for include in ((), ("content",))
    )
    assert b"relationships" not in plain.body
    assert b"relationships" in rich.body
