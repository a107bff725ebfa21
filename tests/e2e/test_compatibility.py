"""Headers, parameters, paths and methods that clients of Apple's API use besides plain reads."""

import pytest

from gateway.sandbox import ADA, BEN, CannedReply, Lag, Misshape, Where
from tests.e2e.harness import ROOT, gateway_on

ONE, TWO = "1138988512", "475655712"
FAVORITES = "/v1/me/favorites"
MEDIA_TOKEN = {"Media-User-Token": ADA}


async def apples_answer(gateway, sandbox, path):
    """The body that Apple answers, without a gateway."""
    headers = {
        "Authorization": f"Bearer {gateway.served.gateway.tokens.current().text}",
        "Music-User-Token": ADA,
    }
    async with gateway.session.get(f"{sandbox.url}{ROOT}/{path}", headers=headers) as response:
        return await response.read()


async def test_the_other_name_of_the_user_token_is_the_same_user(gateway, sandbox):
    await gateway.get("albums", [ONE])
    reply = await gateway.get("albums", [ONE], user=None, headers=MEDIA_TOKEN)
    assert (reply.cache, reply.values) == ("hit", {ONE: 1})


async def test_the_other_name_works_on_the_ops_listener(gateway):
    await gateway.get("albums", [ONE])
    explained = await gateway.ask("GET", f"/-/explain?type=albums&id={ONE}", user=None, headers=MEDIA_TOKEN)
    purged = await gateway.ask("POST", "/-/purge", user=None, headers=MEDIA_TOKEN, body={})
    assert (explained.status, purged.json) == (200, {"purged": True})
    assert (await gateway.get("albums", [ONE])).cache == "fwd=miss; stored"


@pytest.mark.parametrize("value", [f"{ADA}, {ADA}", ADA])
async def test_equal_tokens_are_one(gateway, value):
    headers = {"Music-User-Token": value, "Media-User-Token": ADA}
    assert (await gateway.get("albums", [ONE], user=None, headers=headers)).status == 200


async def test_different_tokens_are_400(gateway, sandbox):
    reply = await gateway.get("albums", [ONE], headers={"Media-User-Token": "other"})
    assert (reply.status, reply.code, sandbox.calls.total) == (400, "40005", 0)


async def test_150_ids_with_another_parameter_are_split(gateway, sandbox):
    ids = [str(5_000_000_000 + n) for n in range(150)]
    reply = await gateway.get("albums", ids, "&art[url]=f")
    assert (reply.status, reply.counts["upstream"]) == (200, 150)
    assert sorted(len(call.ids) for call in sandbox.calls) == [50, 100]


async def test_a_long_variant_is_answered_uncached_with_the_written_value(gateway, sandbox):
    sandbox.faults.add(Lag(60), where=Where(method="PUT"))
    await gateway.rate("albums", ONE, -1)
    for _ in range(2):
        reply = await gateway.get("albums", [ONE], "&x=" + "a" * 2100)
        assert (reply.cache, reply.values) == ("fwd=bypass", {ONE: -1})


@pytest.mark.parametrize("path", [f"{ROOT}/albums/?ids={ONE}", f"{ROOT}/albums/{ONE}/"])
async def test_a_slash_at_the_end_changes_nothing(gateway, path):
    assert (await gateway.ask("GET", path)).values == {ONE: 1}


@pytest.mark.parametrize("cached", [True, False])
async def test_head_has_the_headers_of_get_and_no_body(gateway, cached):
    if cached:
        await gateway.get("albums", [ONE])
    head = await gateway.ask("HEAD", f"{ROOT}/albums?ids={ONE}")
    get = await gateway.ask("GET", f"{ROOT}/albums?ids={ONE}")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == get.headers["Content-Length"]
    assert (await gateway.ask("HEAD", f"{ROOT}/albums/5")).status == 404


async def test_options_is_405(gateway):
    reply = await gateway.ask("OPTIONS", f"{ROOT}/albums?ids={ONE}", headers={"Origin": "https://a.example"})
    assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD")
    assert not any(name.lower().startswith("access-control") for name in reply.headers)


async def test_a_deleted_rating_is_204_without_content_type(gateway):
    reply = await gateway.unrate("albums", ONE)
    assert (reply.status, reply.body) == (204, b"")
    assert "Content-Type" not in reply.headers


class TestLenientIds:
    @pytest.mark.parametrize("warm", [True, False])
    async def test_ids_that_cannot_be_of_the_type_are_errors_of_their_own(self, gateway, warm):
        if warm:
            await gateway.get("albums", [ONE])
        reply = await gateway.get("albums", ["abc", ONE], headers={"Prefer": "handling=lenient"})
        assert (reply.status, reply.values) == (200, {ONE: 1})
        (error,) = reply.json["errors"]
        assert (error["code"], error["source"], error["meta"]) == (
            "40005",
            {"parameter": "ids"},
            {"type": "albums", "id": "abc"},
        )
        assert error["detail"] == "Invalid album id: 'abc'. Album ids are up to 20 digits."
        assert reply.headers["Preference-Applied"] == "handling=lenient"

    async def test_invalid_ids_in_a_body_are_errors_of_their_own(self, gateway):
        body = {"ids": {"albums": [ONE, "x"], "songs": ["y"]}}
        reply = await gateway.ask("POST", ROOT, body=body, headers={"Prefer": "handling=lenient"})
        assert (reply.status, reply.values) == (200, {ONE: 1})
        assert [error["meta"]["id"] for error in reply.json["errors"]] == ["x", "y"]

    async def test_a_lenient_request_without_a_valid_id_is_200_without_a_call(self, gateway, sandbox):
        reply = await gateway.get("albums", ["abc"], headers={"Prefer": "handling=lenient"})
        assert (reply.status, reply.json["data"], sandbox.calls.total) == (200, [], 0)

    async def test_without_leniency_the_request_fails(self, gateway, sandbox):
        for reply in (
            await gateway.get("albums", ["abc", ONE]),
            await gateway.ask("POST", ROOT, body={"ids": {"albums": ["abc", ONE]}}),
        ):
            assert (reply.status, reply.code, sandbox.calls.total) == (400, "40005", 0)


class TestFavorites:
    @pytest.mark.parametrize("method", ["POST", "DELETE"])
    async def test_they_are_relayed_and_the_ids_are_fetched_again(self, gateway, sandbox, method):
        await gateway.get("albums", [ONE, TWO])
        await gateway.get("songs", [3])
        reply = await gateway.ask(method, f"{FAVORITES}?ids[albums]={ONE}&ids[songs]=3")
        assert (reply.status, reply.cache, reply.body) == (202, "fwd=method", b"")
        assert "Content-Type" not in reply.headers
        assert (await gateway.get("albums", [TWO])).cache == "hit"
        assert (await gateway.get("albums", [ONE])).cache.startswith("fwd=")
        assert (await gateway.get("songs", [3])).cache.startswith("fwd=")

    async def test_a_refusal_of_apples_leaves_ratings_unchanged(self, gateway, sandbox):
        await gateway.get("albums", [ONE])
        sandbox.faults.add(CannedReply(400), where=Where(method="POST"))
        reply = await gateway.ask("POST", f"{FAVORITES}?ids[albums]={ONE}")
        assert (reply.status, reply.cache) == (400, "fwd=method")
        sandbox.faults.clear()
        assert (await gateway.get("albums", [ONE])).values == {ONE: 1}

    async def test_types_without_ratings_are_relayed(self, gateway):
        assert (await gateway.ask("POST", f"{FAVORITES}?ids[artists]=5")).status == 202

    @pytest.mark.parametrize(("query", "code"), [("", "40003"), ("?ids[albums]=x", "40005")])
    async def test_without_sound_ids_nothing_is_sent(self, gateway, sandbox, query, code):
        reply = await gateway.ask("POST", FAVORITES + query)
        assert (reply.status, reply.code, sandbox.calls.total) == (400, code, 0)

    async def test_get_is_405(self, gateway):
        reply = await gateway.ask("GET", f"{FAVORITES}?ids[albums]=1")
        assert (reply.status, reply.headers["Allow"]) == (405, "POST, DELETE")


class TestAnswersThatAreNoList:
    @pytest.mark.parametrize("shape", ["map", "no-data", "list"])
    async def test_they_are_relayed_as_they_came_uncached(self, gateway, sandbox, shape):
        sandbox.faults.add(Misshape(shape))
        for calls in (2, 3):
            reply = await gateway.get("albums", [ONE], "&format[resources]=map")
            assert (reply.status, reply.cache, sandbox.calls.total) == (200, "fwd=bypass", calls)
        assert reply.body == await apples_answer(gateway, sandbox, f"albums?ids={ONE}&format[resources]=map")

    async def test_those_of_one_user_leave_the_others_their_cache(self, gateway, sandbox):
        sandbox.faults.add(Misshape("no-data"), where=Where(user=BEN))
        assert (await gateway.get("albums", [ONE], "&platform=web", user=BEN)).cache == "fwd=bypass"
        await gateway.get("albums", [ONE], "&platform=web")
        reply = await gateway.get("albums", [ONE], "&platform=web")
        assert (reply.cache, reply.values) == ("hit", {ONE: 1})

    async def test_one_that_does_not_repeat_is_read_as_a_list_with_the_holds_of_writes(
        self, gateway, sandbox
    ):
        sandbox.faults.add(Lag(60), where=Where(method="PUT"))
        await gateway.rate("albums", ONE, -1)
        sandbox.faults.add(Misshape("no-data"), where=Where(method="GET"), times=1)
        reply = await gateway.get("albums", [ONE], "&platform=web")
        assert (reply.values, reply.cache) == ({ONE: -1}, "fwd=miss")

    async def test_one_id_that_was_written_since_is_read_with_its_hold(self, gateway, sandbox):
        path = f"{ROOT}/albums/{ONE}?platform=web"
        sandbox.faults.add(Misshape("no-data"), where=Where(method="GET"), times=2)
        assert (await gateway.ask("GET", path)).cache == "fwd=bypass"
        sandbox.faults.add(Lag(60), where=Where(method="PUT"))
        await gateway.rate("albums", ONE, -1)
        assert (await gateway.ask("GET", path)).values == {ONE: -1}

    async def test_ids_of_several_calls_are_read_after_one_that_does_not_repeat(self, gateway, sandbox):
        sandbox.faults.add(Misshape("no-data"), times=2)
        assert (await gateway.get("albums", [ONE], "&platform=web")).cache == "fwd=bypass"
        assert (await gateway.get("albums", range(1, 151), "&platform=web")).status == 200

    async def test_one_that_is_a_list_again_is_cached_again(self, gateway, sandbox):
        sandbox.faults.add(Misshape("no-data"))
        await gateway.get("albums", [ONE], "&platform=web")
        sandbox.faults.clear()
        for cache in ("fwd=miss; stored", "hit"):
            assert (await gateway.get("albums", [ONE], "&platform=web")).cache == cache

    async def test_the_cache_answers_while_later_ones_are_relayed(self, sandbox):
        async with gateway_on(sandbox, cache__fresh_seconds=300, upstream__attempts=1) as gateway:
            await gateway.get("albums", [ONE, TWO], "&platform=web")
            sandbox.faults.add(Misshape("no-data"), times=2)
            assert (await gateway.get("albums", [5], "&platform=web")).cache == "fwd=bypass"
            sandbox.faults.add(CannedReply(503))
            gateway.clock.shift += 1
            for headers in ({"Cache-Control": "only-if-cached"}, {"Cache-Control": "max-age=30"}):
                reply = await gateway.get("albums", [ONE, TWO], "&platform=web", headers=headers)
                assert (reply.status, reply.cache) == (200, "hit")
            headers = {"Prefer": "handling=lenient"}
            reply = await gateway.get("albums", [ONE, 5], "&platform=web", headers=headers)
            assert (reply.values, [error["code"] for error in reply.json["errors"]]) == ({ONE: 1}, ["50300"])

    async def test_stale_ratings_stand_in_while_later_ones_are_relayed(self, sandbox):
        settings = {"cache__fresh_seconds": 5, "cache__stale_while_revalidate_seconds": 0}
        async with gateway_on(sandbox, upstream__attempts=1, **settings) as gateway:
            await gateway.get("albums", [ONE, TWO], "&platform=web")
            sandbox.faults.add(Misshape("no-data"), times=2)
            assert (await gateway.get("albums", [5], "&platform=web")).cache == "fwd=bypass"
            sandbox.faults.add(CannedReply(503))
            gateway.clock.shift += 6
            reply = await gateway.get("albums", [ONE, TWO], "&platform=web")
            assert (reply.cache, reply.counts["stale"]) == ("fwd=stale; fwd-status=503", 2)
            assert sandbox.calls.total == 4

    async def test_html_is_no_such_answer_and_leaves_the_cache_in_use(self, gateway, sandbox):
        await gateway.get("albums", [ONE], "&platform=web")
        sandbox.faults.add(CannedReply(200, "html"))
        assert (await gateway.get("albums", [5], "&platform=web")).status == 502
        assert sandbox.calls.total == 1 + 5
        reply = await gateway.get("albums", [ONE], "&platform=web", headers={"Cache-Control": "max-age=300"})
        assert (reply.cache, sandbox.calls.total) == ("hit", 6)

    async def test_ids_of_several_calls_are_502(self, gateway, sandbox):
        sandbox.faults.add(Misshape("map"))
        reply = await gateway.get("albums", range(1, 151), "&format[resources]=map")
        assert (reply.status, reply.code, reply.cache) == (502, "50200", "fwd=bypass")

    async def test_a_long_variant_is_relayed_too(self, gateway, sandbox):
        sandbox.faults.add(Misshape("no-data"))
        reply = await gateway.get("albums", [ONE], "&x=" + "a" * 2100)
        assert (reply.status, reply.cache, reply.json) == (200, "fwd=bypass", {})

    async def test_the_answer_for_one_id_is_relayed_from_its_own_path(self, gateway, sandbox):
        sandbox.faults.add(Misshape("no-data"))
        reply = await gateway.ask("GET", f"{ROOT}/albums/{ONE}?format=map")
        assert (reply.status, reply.cache) == (200, "fwd=bypass")
        assert sandbox.calls.last.path == f"{ROOT}/albums/{ONE}"

    async def test_that_of_one_unrated_id_costs_one_call_from_then_on(self, gateway, sandbox):
        sandbox.faults.add(Misshape("map"), where=Where(many=True))
        for calls in (2, 3):
            reply = await gateway.ask("GET", f"{ROOT}/albums/5?format[resources]=map")
            assert (reply.status, reply.code, sandbox.calls.total) == (404, "40400", calls)

    async def test_the_list_is_tried_again_after_a_minute(self, gateway, sandbox):
        sandbox.faults.add(Misshape("map"))
        await gateway.get("albums", [ONE], "&format[resources]=map")
        for shift, calls in ((59, 3), (2, 5)):
            gateway.clock.shift += shift
            await gateway.get("albums", [ONE], "&format[resources]=map")
            assert sandbox.calls.total == calls

    async def test_a_write_that_is_answered_so_is_held(self, gateway, sandbox):
        sandbox.faults.add(Misshape("map"), where=Where(method="PUT"))
        sandbox.faults.add(Lag(60), where=Where(method="PUT"))
        body = {"attributes": {"value": -1}}
        path = f"{ROOT}/albums/{ONE}?format[resources]=map"
        assert "resources" in (await gateway.ask("PUT", path, body=body)).json
        reply = await gateway.get("albums", [ONE])
        assert (reply.values, reply.cache) == ({ONE: -1}, "hit")

    async def test_several_calls_cannot_be_put_together(self, sandbox):
        async with gateway_on(sandbox, upstream__attempts=1) as gateway:
            sandbox.faults.add(Misshape("no-data"))
            reply = await gateway.get("albums", range(1, 151), "&format=map")
            assert (reply.status, reply.code, sandbox.calls.total) == (502, "50200", 2)
            assert gateway.sample("gateway_requests_failed_total", cause="apple") == 0

    async def test_without_other_parameters_it_is_unusable(self, sandbox):
        async with gateway_on(sandbox, upstream__attempts=1) as gateway:
            sandbox.faults.add(Misshape("no-data"))
            assert (await gateway.get("albums", [ONE], "&l=de")).code == "50200"
