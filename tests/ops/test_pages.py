"""Handlers of the pages: access, formats and forms."""

import json

import pytest

from gateway.ops.openapi import document
from gateway.sandbox import ADA
from tests.ops.conftest import TOKEN
from tests.ops.html import Document

BEARER = {"Authorization": f"Bearer {TOKEN}"}
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
USER = {"Music-User-Token": ADA}


@pytest.fixture
def client(aiohttp_client, ops_app):
    async def make(**access):
        return await aiohttp_client(ops_app(**access))

    return make


@pytest.mark.parametrize("path", ["/status", "/docs", "/runbook"])
async def test_pages_forbid_scripts_and_loading_and_are_not_stored(client, path):
    response = await (await client()).get(path)
    assert response.status == 200
    assert response.content_type == "text/html"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "same-origin"


async def test_the_openapi_document_names_the_addresses_of_this_gateway(client):
    response = await (await client()).get("/openapi.json")
    assert response.content_type == "application/json"
    served = json.loads(await response.text())
    assert served == document("http://127.0.0.1:1", "http://127.0.0.1:2")
    assert list(served) == ["openapi", "info", "servers", "security", "tags", "paths", "components"]


async def test_status_is_json_if_requested(client):
    response = await (await client()).get("/status?format=json")
    assert response.content_type == "application/json"
    assert (await response.json())["token"]["key_id"] == "SANDBOXKEY"


async def test_a_refreshing_page_has_a_refresh_header(client):
    response = await (await client()).get("/status?refresh")
    assert response.headers["Refresh"] == "15; url=/status?refresh"


@pytest.mark.parametrize(
    ("access", "headers", "seen"),
    [
        ({"remote": False}, {}, True),
        ({"remote": True}, {}, False),
        ({"remote": False, "token": TOKEN}, {}, False),
        ({"remote": True, "token": TOKEN}, {}, False),
        ({"remote": True, "token": TOKEN}, {"Authorization": "Bearer wrong"}, False),
        ({"remote": True, "token": TOKEN}, BEARER, True),
    ],
)
@pytest.mark.parametrize("path", ["/status", "/status?format=json"])
async def test_only_granted_requests_see_settings_and_errors(client, access, headers, seen, path):
    text = await (await (await client(**access)).get(path, headers=headers)).text()
    assert ("server.port" in text, "checkout-2" in text) == (seen, seen)


async def test_the_ops_token_can_be_posted_and_is_not_in_the_page(client):
    response = await (await client(token=TOKEN)).post("/status", data={"ops_token": TOKEN})
    text = await response.text()
    assert response.status == 200
    assert "server.port" in text
    assert TOKEN not in text


@pytest.mark.parametrize("access", [{"token": TOKEN}, {"remote": True}])
@pytest.mark.parametrize("given", ["wrong", "", "schlüssel\ud800".encode("utf-8", "replace").decode()])
async def test_a_wrong_token_shows_no_settings(client, access, given):
    response = await (await client(**access)).post("/status", data={"ops_token": given})
    assert response.status == 401
    assert "server.port" not in await response.text()


async def test_explain_is_json_for_a_client_that_does_not_accept_html(client):
    asking = await client()
    response = await asking.get("/-/explain?type=songs&id=7", headers=USER)
    assert response.content_type == "application/json"
    answer = await response.json()
    assert (answer["type"], answer["id"], answer["source"]) == ("songs", "7", "local")


async def test_explain_without_parameters_is_a_form_for_a_browser(client):
    response = await (await client(token=TOKEN)).get("/-/explain", headers=HTML)
    assert response.status == 200
    document = Document(await response.text())
    assert {"type", "id", "user_token", "ops_token"} == set(document.values("name")) - {
        "viewport",
        "color-scheme",
    }


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Media-User-Token": ADA}, 200),
        ({"Media-User-Token": ADA, "Music-User-Token": ADA}, 200),
        ({"Media-User-Token": ADA, "Music-User-Token": "other"}, 400),
    ],
)
async def test_explain_accepts_the_user_token_under_both_names(client, headers, status):
    response = await (await client()).get("/-/explain?type=songs&id=7", headers=headers)
    assert response.status == status


async def test_the_index_links_to_every_page(client):
    text = await (await (await client()).get("/")).text()
    hrefs = Document(text).values("href")
    for path in (
        "/status",
        "/-/explain",
        "/docs",
        "/runbook",
        "/metrics",
        "/openapi.json",
        "/readyz?verbose",
    ):
        assert path in hrefs


async def test_explain_is_a_page_for_a_browser(client):
    response = await (await client()).get("/-/explain?id=1138988512", headers=USER | HTML)
    text = Document(await response.text()).text
    assert "albums 1138988512 of user 7ef99c3f." in text
    assert "It is in this process, and fresh." in text
    assert "Written value held-1 (disliked)" in text
    assert "Freshfor 4 min 31 s more" in text


@pytest.mark.parametrize(
    ("query", "headers", "fault"),
    [
        ("type=albums&id=1", {}, "Send exactly one Music-User-Token."),
        ("type=albums&id=1", {"Music-User-Token": " "}, "Send exactly one"),
        ("type=films&id=1", USER, "Unknown type 'films'; known: albums, songs"),
        ("type=albums&id=pl.x", USER, "id must be a valid id of type albums."),
        ("type=albums", USER, "id must be a valid id of type albums."),
    ],
)
async def test_an_invalid_question_is_400_in_the_accepted_format(client, query, headers, fault):
    asking = await client()
    plain = await asking.get(f"/-/explain?{query}", headers=headers)
    page = await asking.get(f"/-/explain?{query}", headers=headers | HTML)
    assert (plain.status, page.status) == (400, 400)
    assert fault in await plain.text()
    assert plain.content_type == "text/plain"
    assert fault in Document(await page.text()).text


async def test_a_browser_without_the_ops_token_receives_a_form_for_it(client):
    response = await (await client(token=TOKEN)).get("/-/explain?type=songs&id=7", headers=HTML)
    assert (response.status, response.content_type) == (401, "text/html")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    document = Document(await response.text())
    assert "ops_token" in document.values("name")
    assert "7" in document.values("value")


@pytest.mark.parametrize(
    ("access", "headers", "status"),
    [
        ({"token": TOKEN}, {}, 401),
        ({"token": TOKEN}, {"Authorization": "Bearer wrong"}, 401),
        ({"token": TOKEN}, {"Authorization": f"Basic {TOKEN}"}, 401),
        ({"token": TOKEN}, BEARER, 200),
        ({"remote": True}, {}, 403),
        ({"remote": False}, {}, 200),
    ],
)
async def test_explain_requires_the_ops_token_or_a_local_request(client, access, headers, status):
    response = await (await client(**access)).get("/-/explain?id=1", headers=USER | headers)
    assert response.status == status
    assert ("WWW-Authenticate" in response.headers) == (status == 401)


async def test_the_answer_to_the_form_contains_no_token(client):
    fields = {"type": "songs", "id": " 7 ", "user_token": ADA, "ops_token": TOKEN}
    response = await (await client(token=TOKEN)).post("/-/explain", data=fields)
    text = await response.text()
    assert response.status == 200
    assert "songs 7" in Document(text).text
    assert ADA not in text
    assert TOKEN not in text


@pytest.mark.parametrize(
    ("access", "fields", "status"),
    [
        ({"token": TOKEN}, {"ops_token": "wrong"}, 401),
        ({"token": TOKEN}, {}, 401),
        ({"remote": True}, {"ops_token": ""}, 403),
        ({}, {"user_token": ""}, 400),
        ({}, {"user_token": "två ord"}, 400),
        ({}, {"id": "<script>"}, 400),
        ({}, {"type": "<script>"}, 400),
    ],
)
async def test_a_rejected_form_is_shown_again_without_tokens(client, access, fields, status):
    sent = {"type": "songs", "id": "7", "user_token": ADA} | fields
    response = await (await client(**access)).post("/-/explain", data=sent)
    text = await response.text()
    assert response.status == status
    assert ADA not in text
    assert "<script>" not in text
    assert ("<form" in text) == (status != 403)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'{"user_token": "x", "id": "7"}'),
        ("multipart/form-data; boundary=x", b"--x--"),
        ("application/x-www-form-urlencoded; charset=none-such", b"user_token=x&id=7"),
        ("application/x-www-form-urlencoded", b"user_token=\xff&id=7"),
    ],
)
async def test_a_body_that_is_not_a_form_is_400(client, content_type, body):
    response = await (await client()).post("/-/explain", data=body, headers={"Content-Type": content_type})
    assert response.status == 400


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/runbook"])
async def test_pages_without_user_data_need_no_token(client, path):
    assert (await (await client(token=TOKEN, remote=True)).get(path)).status == 200


async def test_the_runbook_has_a_section_per_alert(client):
    text = await (await (await client()).get("/runbook")).text()
    assert "ratingsgatewaybreakeropen" in Document(text).values("id")
