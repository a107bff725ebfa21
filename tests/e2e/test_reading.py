"""Reads through one gateway, from a caller's request to the calls that the sandbox receives."""

import asyncio
import json
from urllib.parse import quote

import pytest

from gateway.model import Kind
from gateway.sandbox import ADA, BEN, REVOKED, UNSUBSCRIBED, Extra, Prefix, Shuffle, Valueless
from tests.e2e.harness import ROOT, gateway_on
from tests.redis_server import RedisServer

APPLES_PAGE = {
    "data": [
        {
            "attributes": {"value": 1},
            "href": "/v1/me/ratings/albums/1138988512",
            "id": "1138988512",
            "type": "ratings",
        },
        {
            "attributes": {"value": 1},
            "href": "/v1/me/ratings/albums/475655712",
            "id": "475655712",
            "type": "ratings",
        },
    ]
}
UNRATED = 5_000_000_000


def journal(sandbox):
    return [tuple(call.ids) for call in sandbox.calls]


async def test_the_example_of_apples_page_comes_back_equal(gateway):
    reply = await gateway.get("albums", [1138988512, 475655712])
    assert (reply.status, reply.json) == (200, APPLES_PAGE)


async def test_asked_again_it_comes_from_the_cache(gateway, sandbox):
    first = await gateway.get("albums", [1138988512, 475655712])
    second = await gateway.get("albums", [1138988512, 475655712])
    assert (first.cache, second.cache) == ("fwd=miss; stored", "hit")
    assert first.counts == {"local": 0, "shared": 0, "upstream": 2, "stale": 0}
    assert second.counts == {"local": 2, "shared": 0, "upstream": 0, "stale": 0}
    assert second.json == APPLES_PAGE
    assert sandbox.calls.total == 1


async def test_an_answer_carries_the_documented_headers(gateway):
    headers = (await gateway.get("albums", [1], headers={"X-Request-Id": "abc"})).headers
    assert headers["Content-Type"] == "application/json"
    assert headers["Cache-Control"] == "private, no-cache, max-age=0"
    assert headers["Vary"] == "Music-User-Token, Media-User-Token"
    assert headers["Age"] == "0"
    assert headers["X-Request-Id"] == "abc"
    assert headers["Server-Timing"].startswith("total;dur=")


async def test_an_error_carries_the_documented_headers(gateway):
    await gateway.get("albums", [UNRATED])
    unrated = await gateway.one("albums", UNRATED)
    assert (unrated.status, unrated.cache, unrated.headers["Age"]) == (404, "hit", "0")
    for reply in (unrated, await gateway.ask("GET", "/"), await gateway.get("albums", [1], user=REVOKED)):
        assert reply.headers["Content-Type"] == "application/json"
        assert reply.headers["Cache-Control"] == "no-store"
        assert reply.headers["Vary"] == "Music-User-Token, Media-User-Token"
        assert "X-Request-Id" in reply.headers
        assert reply.headers["Server-Timing"].startswith("total;dur=")


async def test_what_is_relayed_carries_the_headers_of_a_read(gateway):
    for reply in (await gateway.rate("albums", 1, 1), await gateway.unrate("albums", 1)):
        assert reply.headers["Cache-Control"] == "private, no-cache, max-age=0"
        assert reply.headers["Vary"] == "Music-User-Token, Media-User-Token"
        assert reply.headers["Age"] == "0"


async def test_250_ids_make_three_calls_and_then_none(gateway, sandbox):
    ids = range(UNRATED, UNRATED + 250)
    await gateway.get("albums", ids)
    assert sorted(map(len, journal(sandbox))) == [50, 100, 100]
    again = await gateway.get("albums", ids)
    assert (again.cache, again.counts["local"], sandbox.calls.total) == ("hit", 250, 3)


async def test_only_the_misses_go_to_apple(gateway, sandbox):
    await gateway.get("albums", range(1, 21))
    reply = await gateway.get("albums", range(1, 26))
    assert reply.cache == "fwd=partial; stored"
    assert reply.counts == {"local": 20, "shared": 0, "upstream": 5, "stale": 0}
    assert set(journal(sandbox)[-1]) == {"21", "22", "23", "24", "25"}


async def test_2000_ids_in_one_get_and_10000_in_one_post(gateway, sandbox):
    many = await gateway.get("albums", range(UNRATED, UNRATED + 2000))
    body = {
        "ids": {
            "albums": [str(UNRATED + 5000 + n) for n in range(6000)],
            "songs": [str(n) for n in range(1, 4001)],
        }
    }
    more = await gateway.ask("POST", ROOT, body=body)
    assert (many.status, more.status) == (200, 200)
    assert many.counts["upstream"] == 2000
    assert more.counts["upstream"] == 10_000
    assert sandbox.calls.total == 20 + 60 + 40


async def test_10000_ids_fit_into_one_request_line(gateway):
    ids = quote(",".join(str(UNRATED + n) for n in range(10_000)))
    reply = await gateway.ask("GET", f"{ROOT}/albums?ids={ids}")
    assert (reply.status, reply.counts["upstream"]) == (200, 10_000)


async def test_ratings_come_in_the_order_asked_each_once(gateway):
    reply = await gateway.get("albums", [700000001, 475655712, 5, 700000001, 1138988512])
    assert [item["id"] for item in reply.json["data"]] == ["700000001", "475655712", "1138988512"]


@pytest.mark.parametrize(
    ("kind", "id_"),
    [
        ("albums", "700000001"),
        ("songs", "900000001"),
        ("music-videos", "800000001"),
        ("playlists", "pl.sandboxmorning"),
        ("stations", "ra.600000001"),
        ("library-albums", "l.sandboxown"),
        ("library-songs", "i.sandboxown"),
        ("library-playlists", "p.sandboxown"),
        ("library-music-videos", "i.sandboxownvideo"),
    ],
)
async def test_every_kind_is_read_singly_and_in_bulk(gateway, sandbox, kind, id_):
    many = await gateway.get(kind, [id_])
    one = await gateway.one(kind, id_)
    assert many.json == one.json
    assert many.values == {id_: sandbox.rating(ADA, Kind(kind), id_)}
    assert one.cache == "hit"


async def test_a_single_read_goes_upstream_in_the_form_with_many(gateway, sandbox):
    await gateway.one("albums", 1138988512)
    assert sandbox.calls.last.many


async def test_an_unrated_id_is_404_and_its_absence_is_cached(gateway, sandbox):
    first = await gateway.one("albums", 7)
    second = await gateway.one("albums", 7)
    assert (first.status, first.code, first.cache) == (404, "40400", "fwd=miss; stored")
    assert (second.status, second.cache, sandbox.calls.total) == (404, "hit", 1)


async def test_none_rated_is_an_empty_list(gateway):
    reply = await gateway.get("albums", [7, 8])
    assert (reply.status, reply.json) == (200, {"data": []})


async def test_one_user_never_gets_anothers_ratings(gateway):
    ada = await gateway.get("albums", [1138988512, 700000001])
    ben = await gateway.get("albums", [1138988512, 700000001], user=BEN)
    assert ada.values == {"1138988512": 1, "700000001": -1}
    assert ben.values == {"1138988512": -1, "700000001": 1}
    assert ben.cache == "fwd=miss; stored"


async def test_variants_do_not_mix(gateway, sandbox):
    plain = await gateway.get("albums", [1138988512])
    german = await gateway.get("albums", [1138988512], "&include=content&l=de")
    english = await gateway.get("albums", [1138988512], "&include=content&l=en")
    again = await gateway.get("albums", [1138988512], "&l=de&include=content")
    assert len({reply.body for reply in (plain, german, english)}) == 3
    assert (again.body, again.cache, sandbox.calls.total) == (german.body, "hit", 3)


async def test_a_ninth_variant_is_answered_uncached(gateway, sandbox):
    for language in "abcdefgh":
        await gateway.get("albums", [1138988512], f"&l={language}")
    ninth = [await gateway.get("albums", [1138988512], "&l=i") for _ in range(2)]
    assert [reply.cache for reply in ninth] == ["fwd=bypass", "fwd=bypass"]
    assert ninth[0].values == {"1138988512": 1}
    assert (await gateway.get("albums", [1138988512], "&l=a")).cache == "hit"
    assert sandbox.calls.total == 10


async def test_a_long_variant_is_cached(gateway, sandbox):
    long = [await gateway.get("albums", [1138988512], f"&extend={'x' * 2000}") for _ in range(2)]
    assert [reply.cache for reply in long] == ["fwd=miss; stored", "hit"]


async def test_any_parameter_makes_a_variant_that_is_cached(gateway, sandbox):
    await gateway.get("albums", [1138988512])
    for cache in ("fwd=miss; stored", "hit"):
        reply = await gateway.ask("GET", f"{ROOT}/albums?ids=1138988512&platform=web")
        assert (reply.status, reply.cache, reply.values) == (200, cache, {"1138988512": 1})
    assert sandbox.calls.last.query == "platform=web"
    assert sandbox.calls.total == 2


async def test_unknown_fields_of_a_resource_come_back_also_from_the_cache(gateway, sandbox):
    extra = {"meta": {"deep": [1, None, "ü"]}}
    sandbox.faults.add(Extra(extra))
    first = await gateway.get("albums", [1138988512])
    second = await gateway.get("albums", [1138988512])
    assert first.json["data"][0]["meta"] == extra["meta"]
    assert second.json == first.json
    assert second.cache == "hit"


@pytest.mark.parametrize("effect", [Prefix("r."), Shuffle(), Valueless()])
async def test_variations_of_a_sound_answer_change_nothing(gateway, sandbox, effect):
    sandbox.faults.add(effect)
    reply = await gateway.get("albums", [475655712, 3, 1138988512, 700000001])
    assert list(reply.values.items()) == [("475655712", 1), ("1138988512", 1), ("700000001", -1)]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "40401"),
        ("GET", "/v1/me/library/albums", 421, "42100"),
        ("GET", ROOT, 405, "40500"),
        ("POST", f"{ROOT}/albums", 405, "40500"),
        ("PATCH", f"{ROOT}/albums/1", 405, "40500"),
        ("GET", f"{ROOT}/albums", 400, "40003"),
        ("GET", f"{ROOT}/albums?ids=", 400, "40005"),
        ("GET", f"{ROOT}/albums?ids=l.1", 400, "40005"),
        ("GET", f"{ROOT}/artists?ids=1", 400, "40008"),
        ("GET", f"{ROOT}/albums?ids=" + ",".join(str(n) for n in range(10_001)), 400, "40005"),
        ("POST", ROOT, 400, "40006"),
        ("PUT", f"{ROOT}/albums/1", 400, "40006"),
    ],
)
async def test_what_cannot_be_served_is_refused_in_the_envelope(gateway, sandbox, method, path, status, code):
    reply = await gateway.ask(method, path)
    error = reply.json["errors"][0]
    assert (reply.status, error["status"], error["code"]) == (status, str(status), code)
    assert len(error["id"]) == 26
    assert error["title"]
    assert reply.headers["Cache-Control"] == "no-store"
    assert sandbox.calls.total == 0


async def test_a_request_line_over_the_limit_is_414_and_names_the_route_for_many_ids(gateway):
    reply = await gateway.ask("GET", f"{ROOT}/albums?ids=" + "1" * (512 * 1024))
    assert (reply.status, reply.code) == (414, "41400")
    detail = reply.json["errors"][0]["detail"]
    assert "exceeds 524,288 bytes" in detail
    assert "POST /v1/me/ratings" in detail


async def test_a_header_over_the_limit_is_431_and_quotes_nothing(gateway):
    reply = await gateway.get("albums", [1], user="secret" * 4000)
    assert (reply.status, reply.code) == (431, "43100")
    assert b"secret" not in reply.body


async def test_a_body_over_the_limit_is_413(gateway):
    reply = await gateway.ask("POST", ROOT, body=b" " * (3 * 1024 * 1024))
    assert (reply.status, reply.code) == (413, "41300")


async def test_no_user_token_is_403_and_two_are_400(gateway, sandbox):
    none = await gateway.get("albums", [1], user=None)
    assert (none.status, none.code) == (403, "40300")
    async with gateway.session.get(
        f"{gateway.served.api_url}{ROOT}/albums?ids=1",
        headers=[("Music-User-Token", "a"), ("Music-User-Token", "b")],
    ) as two:
        assert two.status == 400
    assert sandbox.calls.total == 0


@pytest.mark.parametrize(("user", "status", "code"), [(REVOKED, 403, "40300"), (UNSUBSCRIBED, 400, "40015")])
async def test_apples_own_refusals_are_relayed(gateway, user, status, code):
    reply = await gateway.get("albums", [1], user=user)
    assert (reply.status, reply.code) == (status, code)
    assert reply.headers["Proxy-Status"] == f"ratings-gateway; received-status={status}"


async def test_callers_must_present_a_token_if_any_is_set(sandbox):
    async with gateway_on(sandbox, server__caller_tokens="one,two") as caller:
        assert (await caller.get("albums", [1])).status == 401
        assert (await caller.get("albums", [1], headers={"X-Gateway-Token": "two"})).status == 200
        assert (await caller.get("albums", [1], headers={"Authorization": "Bearer one"})).status == 200


async def test_a_caller_that_leaves_fills_the_cache_all_the_same(gateway, sandbox):
    hold = sandbox.hold()
    leaving = asyncio.ensure_future(gateway.get("albums", [1138988512]))
    await hold.reached()
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    hold.release()
    await sandbox.calls.until_ended(1)
    staying = await gateway.get("albums", [1138988512])
    assert staying.values == {"1138988512": 1}
    assert sandbox.calls.total == 1


async def test_no_user_token_reaches_log_or_metrics(gateway, capfd):
    await gateway.get("albums", [1138988512])
    await gateway.get("albums", [1], user=REVOKED)
    text = json.dumps(await gateway.metrics()) + "".join(capfd.readouterr())
    assert ADA not in text
    assert REVOKED not in text


async def test_an_unknown_method_is_counted_and_timed_like_any_other(gateway):
    assert (await gateway.ask("PROPFIND", f"{ROOT}/albums")).status == 405
    route = f"{ROOT}/{{type}}"
    assert gateway.sample("gateway_http_requests_total", route=route, method="other", status="405") == 1
    assert gateway.sample("gateway_http_request_duration_seconds_count", route=route, cache="none") == 1


@pytest.mark.redis_server
async def test_a_local_tier_that_is_turned_off_counts_nothing(sandbox):
    with RedisServer() as redis:
        settings = {"cache__redis_url": redis.url, "cache__local_max_entries": 0}
        async with gateway_on(sandbox, **settings) as caller:
            assert (await caller.get("albums", [1])).cache == "fwd=miss; stored"
            counted = {name: count for name, count in (await caller.metrics()).items() if "cache_ids" in name}
    assert {name for name, count in counted.items() if count} == {
        'gateway_cache_ids_total{result="miss",tier="shared"}'
    }
