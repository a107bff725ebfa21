import asyncio
import re

import pytest

from gateway.model import Kind
from gateway.sandbox import ADA, CLEO, Credentials, Sandbox, Where
from gateway.sandbox.control import Control
from gateway.sandbox.faults import EFFECTS

LIKED = "albums?ids=1138988512,475655712"


async def test_the_index_lists_every_effect_with_a_body_that_arms_it(control):
    listed = (await control("GET", "")).body.decode()
    bodies = [line.strip() for line in listed.splitlines() if line.startswith('  {"effect"')]
    assert len(bodies) == len(EFFECTS)
    for body in bodies:
        armed = await control("POST", "faults", data=body)
        assert armed.status == 201


async def test_the_index_lists_every_route(control, sandbox):
    listed = (await control("GET", "")).body.decode()
    lines = set(re.findall(r"^(\w+) +(/_sandbox/\S*)", listed, re.MULTILINE))
    assert {(route.method, route.path) for route in Control(sandbox).routes()} == lines


async def test_generated_credentials_are_served(control, sandbox):
    answered = await control("GET", "credentials")
    assert answered.document == {
        "base_url": sandbox.url,
        "team_id": sandbox.credentials.team_id,
        "key_id": sandbox.credentials.key_id,
        "private_key": sandbox.credentials.private_key_pem,
    }


async def test_given_credentials_are_not_served(http):
    async with (
        Sandbox(credentials=Credentials.generate()) as sandbox,
        http.get(f"{sandbox.url}/_sandbox/credentials") as response,
    ):
        assert response.status == 403
        assert "PRIVATE KEY" not in await response.text()


async def test_the_developer_token_is_accepted(control, call):
    token = (await control("GET", "developer-token")).body.decode()
    assert (await call("GET", LIKED, headers={"Authorization": f"Bearer {token}"})).status == 200


async def test_a_key_is_trusted_and_distrusted(control, call, sandbox):
    new = Credentials.generate(key_id="SANDBOXTWO")
    trusted = new.trusted()
    key = {"team_id": trusted.team_id, "key_id": trusted.key_id, "public_key_pem": trusted.public_key_pem}
    headers = {"Authorization": f"Bearer {new.developer_token(now=sandbox.clock.time())}"}
    assert (await control("POST", "keys", json=key)).status == 204
    assert (await call("GET", LIKED, headers=headers)).status == 200
    assert (await control("DELETE", "keys/SANDBOXTWO")).status == 204
    assert (await call("GET", LIKED, headers=headers)).status == 401
    assert (await control("DELETE", "keys/SANDBOXTWO")).status == 404


async def test_users_are_listed_with_their_ratings(control):
    users = {user["label"]: user for user in (await control("GET", "users")).document["users"]}
    assert users["ben"]["ratings"] == {
        "albums": {"1138988512": -1, "700000001": 1},
        "songs": {"900000001": -1},
    }
    assert [users[label]["standing"] for label in ("cleo", "revoked", "unsubscribed")] == [
        "active",
        "revoked",
        "unsubscribed",
    ]


async def test_a_user_is_added_with_ratings(control, call):
    user = {"token": "a-token", "label": "eve", "ratings": {"songs": {"5": -1}}}
    added = await control("POST", "users", json=user)
    assert (added.status, added.document) == (201, {"added": "eve"})
    assert (await call("GET", "songs?ids=5,6", user="a-token")).ids == ["5"]


@pytest.mark.parametrize("user", [CLEO, "cleo"])
async def test_a_rating_is_set_and_removed_without_a_call(control, call, user):
    rating = {"user": user, "type": "songs", "id": "5", "value": 1}
    assert (await control("POST", "ratings", json=rating)).status == 200
    assert (await call("GET", "songs?ids=5", user=CLEO)).ids == ["5"]
    await control("POST", "ratings", json=rating | {"value": None})
    assert (await call("GET", "songs?ids=5", user=CLEO)).ids == []


async def test_a_pair_is_added(control, call):
    pair = {"type": "songs", "id": "5", "library_id": "i.5"}
    assert (await control("POST", "pairs", json=pair)).status == 201
    await call("PUT", "songs/5", json={"attributes": {"value": 1}})
    assert (await call("GET", "library-songs?ids=i.5")).ids == ["i.5"]


async def test_a_fault_is_armed_listed_and_disarmed(control, call):
    fault = {"effect": {"name": "reply", "status": 429}, "where": {"type": "albums", "user": ADA}, "times": 2}
    armed = await control("POST", "faults", json=fault)
    assert (armed.status, armed.document["fault"]["where"]) == (201, {"type": "albums", "user": "ada"})
    assert (await call("GET", LIKED)).status == 429
    (listed,) = (await control("GET", "faults")).document["faults"]
    assert (listed["id"], listed["fired"]) == (armed.document["id"], 1)
    assert (await control("DELETE", f"faults/{listed['id']}")).status == 204
    assert (await call("GET", LIKED)).status == 200


async def test_all_faults_are_disarmed(control, call):
    for status in (429, 500):
        await control("POST", "faults", json={"effect": {"name": "reply", "status": status}})
    assert (await control("DELETE", "faults")).status == 204
    assert (await call("GET", LIKED)).status == 200


async def test_held_calls_are_released_by_number_and_then_all(control, call, sandbox):
    id_ = (await control("POST", "faults", json={"effect": {"name": "hold"}})).document["id"]
    reads = [asyncio.ensure_future(call("GET", LIKED)) for _ in range(3)]
    await sandbox.faults[id_].reached(3)
    released = await control("POST", f"faults/{id_}/release", json={"calls": 1})
    assert released.document["waiting"] == 2
    await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
    assert (await control("POST", f"faults/{id_}/release")).document["waiting"] == 0
    assert {answered.status for answered in await asyncio.gather(*reads)} == {200}


async def test_the_journal_is_shown_and_cleared(control, call):
    for id_ in ("1", "2"):
        await call("GET", f"albums?ids={id_}")
    shown = (await control("GET", "calls")).document
    assert (shown["total"], shown["in_flight"], shown["max_in_flight"], shown["doubles"]) == (2, 0, 1, [])
    assert [told["ids"] for told in shown["calls"]] == [["1"], ["2"]]
    assert [told["ids"] for told in (await control("GET", "calls?limit=1")).document["calls"]] == [["2"]]
    assert (await control("GET", "calls?limit=0")).document["calls"] == []
    assert (await control("DELETE", "calls")).status == 204
    assert (await control("GET", "calls")).document["total"] == 0


async def test_a_reset_restores_the_initial_state(control, call, sandbox):
    sandbox.rate(ADA, Kind.ALBUMS, "1138988512", None)
    sandbox.add_user("a-token")
    sandbox.tokens.distrust(sandbox.credentials.key_id)
    sandbox.hold(Where(user="ada"))
    assert (await control("POST", "reset")).status == 204
    assert (await call("GET", LIKED)).ids == ["1138988512", "475655712"]
    assert sandbox.store.account("a-token") is None
    assert sandbox.calls.total == 1


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "faults", b"{", 400),
        ("POST", "faults", b'{"effect":{"name":"explode"}}', 400),
        ("POST", "users", b'{"token":"x","label":"ada"}', 400),
        ("POST", "users", b'{"token":"x","ratings":{"songs":{"1":2}}}', 400),
        ("POST", "pairs", b'{"type":"stations","id":"ra.1","library_id":"x"}', 400),
        ("POST", "ratings", b'{"user":"nobody","type":"songs","id":"1","value":1}', 404),
        ("POST", "faults/f9/release", b"", 404),
        ("DELETE", "faults/f9", b"", 404),
        ("GET", "calls?limit=x", b"", 400),
    ],
)
async def test_invalid_requests_are_refused_with_a_reason(control, method, path, body, status):
    answered = await control(method, path, data=body)
    assert answered.status == status
    assert answered.document["error"]


async def test_control_calls_are_not_in_the_journal(control, sandbox):
    await control("GET", "users")
    assert sandbox.calls.total == 0
