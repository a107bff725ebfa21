"""Calls over real connections: answers, faults and the journal."""

import asyncio
import json

import aiohttp
import pytest
from yarl import URL

from gateway.model import Kind
from gateway.sandbox import (
    ADA,
    BEN,
    REVOKED,
    CannedReply,
    Credentials,
    Lag,
    Latency,
    MaxIds,
    Prefix,
    Reset,
    Sandbox,
    Skew,
    SlowBody,
    Truncate,
    Where,
)

EXAMPLE = """{
    "data": [
        {"attributes": {"value": 1}, "href": "/v1/me/ratings/albums/1138988512", "id": "1138988512", "type": "ratings"},
        {"attributes": {"value": 1}, "href": "/v1/me/ratings/albums/475655712", "id": "475655712", "type": "ratings"}
    ]
}"""  # noqa: E501
LIKE = {"type": "rating", "attributes": {"value": 1}}
LIKED, UNRATED = "albums?ids=1138988512,475655712", "albums/9"


async def test_a_read_is_answered_as_in_apples_example(call):
    answered = await call("GET", LIKED)
    assert answered.status == 200
    assert answered.headers["Content-Type"] == "application/json"
    assert answered.document == json.loads(EXAMPLE)


@pytest.mark.parametrize(("query", "code"), [("", "40003"), ("ids=", "40005"), ("ids=,%20,", "40005")])
async def test_missing_and_empty_ids_have_different_codes(call, query, code):
    assert (await call("GET", f"albums?{query}")).error["code"] == code


@pytest.mark.parametrize("path", ["albums/?ids=1138988512", "albums/1138988512/"])
async def test_a_slash_at_the_end_changes_nothing(call, path):
    assert (await call("GET", path)).ids == ["1138988512"]


async def test_head_has_the_headers_of_get_and_no_body(call):
    head, get = [await call(method, "albums?ids=1138988512") for method in ("HEAD", "GET")]
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == get.headers["Content-Length"]


async def test_web_clients_name_the_user_token_otherwise(call):
    reply = await call("GET", "albums?ids=1138988512", user=None, headers={"Media-User-Token": ADA})
    assert reply.ids == ["1138988512"]


async def test_a_refused_developer_token_is_an_empty_401_and_the_journal_says_why(sandbox, call):
    answered = await call("GET", LIKED, headers={"Authorization": "Bearer nonsense"})
    assert (answered.status, answered.body, answered.headers["Content-Length"]) == (401, b"", "0")
    assert sandbox.calls.last.objection


async def test_a_token_bound_to_an_origin_needs_that_header(sandbox, call):
    headers = {"Authorization": f"Bearer {sandbox.developer_token(origin=['https://a.example'])}"}
    assert (await call("GET", LIKED, headers=headers)).status == 401
    assert (await call("GET", LIKED, headers=headers | {"Origin": "https://a.example"})).status == 200


async def test_a_developer_token_expires_by_the_clock(sandbox, call, clock):
    headers = {"Authorization": f"Bearer {sandbox.developer_token(lifetime_seconds=60)}"}
    clock.now = 60.0
    assert (await call("GET", LIKED, headers=headers)).status == 401


async def test_a_written_rating_is_read_back_and_unrated_again(sandbox, call):
    assert (await call("PUT", UNRATED, json=LIKE)).ids == ["9"]
    assert sandbox.rating(ADA, Kind.ALBUMS, "9") == 1
    deleted = await call("DELETE", UNRATED)
    assert (deleted.status, deleted.body) == (204, b"")
    assert (await call("GET", UNRATED)).error["code"] == "40400"


async def test_extend_and_language_are_accepted_and_content_is_included(call):
    answered = await call("GET", "albums?ids=1138988512&include=content,x&extend=y&l=de-DE")
    (content,) = answered.document["data"][0]["relationships"]["content"]["data"]
    assert (content["type"], "de-DE" in content["attributes"]["name"]) == ("albums", True)


async def test_a_request_line_of_ten_thousand_ids_is_accepted(sandbox, http):
    ids = "%2C".join(str(10**11 + n) for n in range(10_000))
    async with Sandbox(max_ids=10_000) as roomy:
        headers = {"Authorization": f"Bearer {roomy.developer_token()}", "Music-User-Token": ADA}
        url = URL(f"{roomy.url}/v1/me/ratings/albums?ids={ids}", encoded=True)
        async with http.get(url, headers=headers) as response:
            assert (response.status, await response.json()) == (200, {"data": []})
        assert len(roomy.calls.last.ids) == 10_000


async def test_more_ids_than_the_limit_are_refused(call):
    refused = await call("GET", "albums?ids=" + ",".join(map(str, range(101))))
    assert (refused.status, refused.error["source"]) == (400, {"parameter": "ids"})


async def test_the_journal_records_the_call(sandbox, call, clock):
    clock.now = 3.0
    await call("GET", "songs?ids=1,2&l=de&include=content", user=BEN)
    made = sandbox.calls.last
    assert (made.method, made.path, made.kind, made.user) == (
        "GET",
        "/v1/me/ratings/songs",
        Kind.SONGS,
        "ben",
    )
    assert (made.ids, made.many, made.query) == (("1", "2"), True, "include=content&l=de")
    assert (made.status, made.started, made.ended, made.faults) == (200, 3.0, 3.0, ())


@pytest.mark.parametrize(("user", "start"), [(None, ""), ("a-stranger", "unknown-")])
async def test_the_journal_never_contains_the_token_of_an_unknown_user(sandbox, call, user, start):
    await call("GET", LIKED, user=user)
    assert sandbox.calls.last.user.startswith(start)
    assert "stranger" not in sandbox.calls.last.user


async def test_a_write_that_lags_shows_later(sandbox, call, clock):
    sandbox.faults.add(Lag(5))
    await call("PUT", "albums/1138988512", json={"attributes": {"value": -1}})
    before = (await call("GET", "albums/1138988512")).document
    clock.now = 5.0
    after = (await call("GET", "albums/1138988512")).document
    values = [document["data"][0]["attributes"]["value"] for document in (before, after)]
    assert values == [1, -1]


async def test_latency_uses_the_sandboxs_sleep(sandbox, call, clock):
    sandbox.faults.add(Latency(2, jitter=1))
    sandbox.faults.add(Latency(5, at="answer"))
    await call("GET", LIKED)
    first, second = clock.slept
    assert 2 <= first < 3
    assert second == 5


async def test_a_429_has_retry_after_and_strikes_one_user_once(sandbox, call):
    armed = sandbox.faults.add(CannedReply(429, retry_after=1), where=Where(user=ADA), times=1)
    throttled, other, passed = [await call("GET", LIKED, user=user) for user in (ADA, BEN, ADA)]
    assert (throttled.status, throttled.headers["Retry-After"]) == (429, "1")
    assert (other.status, passed.status) == (200, 200)
    assert [each.faults for each in sandbox.calls] == [(armed.id,), (), ()]


@pytest.mark.parametrize("applied", [True, False])
async def test_a_write_that_fails_may_have_taken_effect(sandbox, call, applied):
    sandbox.faults.add(CannedReply(503, applied=applied), times=1)
    assert (await call("PUT", UNRATED, json=LIKE)).status == 503
    assert sandbox.rating(ADA, Kind.ALBUMS, "9") == (1 if applied else None)


@pytest.mark.parametrize("applied", [True, False])
async def test_a_reset_answers_nothing_and_may_have_taken_effect(sandbox, call, applied):
    sandbox.faults.add(Reset(applied=applied), times=2)  # aiohttp repeats a call that was reset, once
    with pytest.raises(aiohttp.ClientConnectionError):
        await call("PUT", UNRATED, json=LIKE)
    await sandbox.calls.until_ended(2)
    assert [each.status for each in sandbox.calls] == [None, None]
    assert sandbox.rating(ADA, Kind.ALBUMS, "9") == (1 if applied else None)


async def test_a_reset_after_the_caller_left_ends_the_call_without_a_status(sandbox, call):
    sandbox.faults.add(Reset(applied=True))
    held = sandbox.hold(at="answer")
    writing = asyncio.ensure_future(call("PUT", UNRATED, json=LIKE))
    await held.reached()
    async with asyncio.timeout(5):
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        assert (await call("GET", "../../../nowhere")).status == 404
        held.release()
        await sandbox.calls.until_ended(1)
    assert sandbox.calls.last.status is None


async def test_a_truncated_body_ends_before_its_length(sandbox, call):
    sandbox.faults.add(Truncate())
    with pytest.raises(aiohttp.ClientPayloadError):
        await call("GET", LIKED)


async def test_a_slow_body_arrives_complete(sandbox, call, clock):
    sandbox.faults.add(SlowBody(4, pieces=4))
    assert (await call("GET", LIKED)).document == json.loads(EXAMPLE)
    assert clock.slept == [1.0] * 4


async def test_a_reshaping_fault_changes_the_answer(sandbox, call):
    sandbox.faults.add(Prefix())
    assert (await call("GET", LIKED)).ids == ["r.1138988512", "r.475655712"]


async def test_a_lower_limit_refuses_only_calls_above_it(sandbox, call):
    sandbox.faults.add(MaxIds(1, 413))
    assert (await call("GET", LIKED)).status == 413
    assert (await call("GET", "albums?ids=1138988512")).status == 200


async def test_a_read_held_on_arrival_sees_a_write_made_meanwhile(sandbox, call):
    held = sandbox.hold(Where(method="GET"))
    reading = asyncio.ensure_future(call("GET", "albums/1138988512"))
    await held.reached()
    await call("PUT", "albums/1138988512", json={"attributes": {"value": -1}})
    held.release()
    assert (await reading).document["data"][0]["attributes"]["value"] == -1


async def test_a_read_held_at_its_answer_does_not_see_a_write_made_meanwhile(sandbox, call):
    held = sandbox.hold(Where(method="GET"), at="answer", times=1)
    reading = asyncio.ensure_future(call("GET", "albums/1138988512"))
    await held.reached()
    await call("PUT", "albums/1138988512", json={"attributes": {"value": -1}})
    held.release()
    assert (await reading).document["data"][0]["attributes"]["value"] == 1


async def test_ids_in_flight_twice_are_recorded(sandbox, call):
    held = sandbox.hold()
    reads = [asyncio.ensure_future(call("GET", f"albums?ids={ids}")) for ids in ("1,2", "2,3")]
    await held.reached(2)
    held.release()
    await asyncio.gather(*reads)
    assert [double.id for double in sandbox.calls.doubles] == ["2"]
    assert sandbox.calls.max_in_flight == 2


async def test_a_read_ends_when_its_caller_disconnects(sandbox, call):
    held = sandbox.hold()
    reading = asyncio.ensure_future(call("GET", LIKED))
    await held.reached()
    reading.cancel()
    await sandbox.calls.until_ended(1)
    assert (sandbox.calls.last.status, sandbox.calls.in_flight, held.waiting) == (None, 0, 0)


async def test_a_write_is_completed_although_its_caller_disconnects(sandbox, call, http):
    held = sandbox.hold(Where(method="PUT"))
    writing = asyncio.ensure_future(call("PUT", UNRATED, json=LIKE))
    await held.reached()
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    held.release()
    await sandbox.calls.until_ended(1)
    assert sandbox.rating(ADA, Kind.ALBUMS, "9") == 1


async def test_keys_can_be_rotated_while_it_runs(sandbox, call):
    new = Credentials.generate(key_id="SANDBOXTWO")
    headers = {"Authorization": f"Bearer {new.developer_token(now=sandbox.clock.time())}"}
    assert (await call("GET", LIKED, headers=headers)).status == 401
    sandbox.tokens.trust(new.trusted())
    sandbox.tokens.distrust(sandbox.credentials.key_id)
    assert (await call("GET", LIKED, headers=headers)).status == 200
    assert (await call("GET", LIKED)).status == 401


async def test_the_developer_token_can_be_tested_without_a_user(sandbox, call):
    assert (await call("GET", "../../test")).status == 200
    assert (sandbox.calls.last.path, sandbox.calls.last.status) == ("/v1/test", 200)
    assert (await call("GET", "../../test", headers={"Authorization": "Bearer nonsense"})).status == 401


async def test_a_refusal_of_one_user_does_not_strike_the_test(sandbox, call):
    sandbox.faults.add(CannedReply(401), where=Where(user=ADA))
    assert (await call("GET", LIKED)).status == 401
    assert (await call("GET", "../../test")).status == 200


async def test_a_kept_connection_is_reset_and_a_new_one_is_not(sandbox, call):
    sandbox.faults.add(Reset(kept=True))
    assert (await call("GET", LIKED)).status == 200
    assert (await call("PUT", UNRATED, json=LIKE)).status == 200
    assert [(each.kept, each.status) for each in sandbox.calls] == [(False, 200), (True, None), (False, 200)]


async def test_a_skewed_clock_applies_to_dates_and_developer_tokens(sandbox, call):
    sandbox.faults.add(Skew(-7200))
    answered = await call("GET", LIKED)
    assert (answered.status, sandbox.calls.last.objection) == (401, "iat is in the future")
    assert answered.headers["Date"] == "Fri, 15 Jan 2027 06:00:00 GMT"


@pytest.fixture
def favorite(sandbox, http):
    async def favorite(method, query, user=ADA):
        headers = {"Authorization": f"Bearer {sandbox.developer_token()}", "Music-User-Token": user}
        url = f"{sandbox.url}/v1/me/favorites{query}"
        async with http.request(method, url, headers=headers) as response:
            return response.status, await response.text()

    return favorite


async def test_a_favorite_is_a_like_and_removing_it_unrates(favorite, call):
    query = "?ids[albums]=1,2&ids[artists]=7"
    assert await favorite("POST", query) == (202, "")
    assert (await call("GET", "albums?ids=1,2")).ids == ["1", "2"]
    assert await favorite("DELETE", query) == (202, "")
    assert (await call("GET", "albums?ids=1,2")).ids == []


@pytest.mark.parametrize(
    ("method", "query", "user", "status", "code"),
    [
        ("POST", "", ADA, 400, "40003"),
        ("POST", "?ids[albums]=l.x", ADA, 400, "40005"),
        ("POST", "?ids[albums]=1", REVOKED, 403, "40300"),
        ("GET", "?ids[albums]=1", ADA, 405, "40500"),
    ],
)
async def test_invalid_favorites_are_refused(favorite, method, query, user, status, code):
    answered, body = await favorite(method, query, user)
    assert (answered, f'"code":"{code}"' in body) == (status, True)


async def test_favorites_are_in_the_journal_and_can_be_struck(favorite, sandbox):
    sandbox.faults.add(CannedReply(500), where=Where(method="POST"))
    assert (await favorite("POST", "?ids[songs]=5"))[0] == 500
    assert (sandbox.calls.last.path, sandbox.calls.last.ids) == ("/v1/me/favorites", ("5",))
