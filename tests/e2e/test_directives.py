"""Cache-Control, Prefer and X-Request-Timeout-Ms, applied to each id."""

import asyncio
import gc
import time

import pytest

from gateway.model import Kind
from gateway.sandbox import ADA, REVOKED, UNSUBSCRIBED, CannedReply, Lag, Latency, Where
from gateway.web.request_record import RequestRecord
from tests.e2e.clock_jumps import play, scene
from tests.e2e.harness import ROOT, gateway_on

ONE = "1138988512"
TWO = "475655712"
THREE = "700000001"
LENIENT = {"Prefer": "handling=lenient"}
NO_CACHE = {"Cache-Control": "no-cache"}
ONLY_IF_CACHED = {"Cache-Control": "only-if-cached"}
FRESH = 300
REVALIDATED = 300


def control(directives: str) -> dict[str, str]:
    return {"Cache-Control": directives}


def asked(sandbox):
    return [sorted(call.ids) for call in sandbox.calls]


async def warmed(gateway, *ids, age=0.0):
    await gateway.get("albums", ids or [ONE])
    gateway.clock.shift += age


async def test_no_cache_asks_apple_and_stores_the_answer(gateway, sandbox):
    await warmed(gateway)
    sandbox.rate(ADA, Kind.ALBUMS, ONE, -1)
    reply = await gateway.get("albums", [ONE], headers=NO_CACHE)
    assert (reply.values, reply.cache) == ({ONE: -1}, "fwd=request; stored")
    assert reply.headers["Age"] == "0"
    after = await gateway.get("albums", [ONE])
    assert (after.values, after.cache) == ({ONE: -1}, "hit")


async def test_no_cache_asks_for_every_id_whether_cached_or_not(gateway, sandbox):
    await warmed(gateway)
    reply = await gateway.get("albums", [ONE, TWO], headers=NO_CACHE)
    assert (reply.cache, reply.counts["upstream"]) == ("fwd=request; stored", 2)
    assert asked(sandbox) == [[ONE], sorted([ONE, TWO])]


async def test_no_cache_takes_no_stale_answer_of_any_kind(sandbox):
    async with gateway_on(sandbox, upstream__attempts=1) as caller:
        await warmed(caller, age=FRESH + 1)
        sandbox.faults.add(CannedReply(500))
        reply = await caller.get("albums", [ONE], headers=NO_CACHE)
        assert (reply.status, reply.code) == (500, "50000")


async def test_no_cache_does_not_outrank_a_hold(gateway, sandbox):
    sandbox.faults.add(Lag(60), where=Where(method="PUT"))
    await gateway.rate("albums", ONE, -1)
    reply = await gateway.get("albums", [ONE, TWO], headers=NO_CACHE)
    assert reply.values == {ONE: -1, TWO: 1}
    assert asked(sandbox)[1:] == [[TWO]]


async def test_max_age_refetches_only_older_entries(gateway, sandbox):
    await warmed(gateway, age=20)
    await warmed(gateway, TWO, age=20)
    reply = await gateway.get("albums", [ONE, TWO, THREE], headers=control("max-age=30"))
    assert asked(sandbox)[2:] == [sorted([ONE, THREE])]
    assert reply.cache == "fwd=request; stored"
    assert reply.counts == {"local": 1, "shared": 0, "upstream": 2, "stale": 0}
    assert reply.headers["Age"] == "20"


async def test_a_max_age_that_everything_meets_is_a_hit(gateway, sandbox):
    await warmed(gateway, age=20)
    assert (await gateway.get("albums", [ONE], headers=control("max-age=30"))).cache == "hit"
    assert sandbox.calls.total == 1


async def test_a_miss_under_max_age_is_just_a_miss(gateway):
    assert (await gateway.get("albums", [ONE], headers=control("max-age=30"))).cache == "fwd=miss; stored"


async def test_max_age_excludes_stale_while_revalidate(gateway, sandbox):
    await warmed(gateway, age=FRESH + 1)
    sandbox.rate(ADA, Kind.ALBUMS, ONE, -1)
    reply = await gateway.get("albums", [ONE], headers=control("max-age=3600"))
    assert (reply.values, reply.cache) == ({ONE: -1}, "fwd=request; stored")


async def test_under_max_age_a_stale_entry_is_served_if_apple_fails(sandbox):
    async with gateway_on(sandbox, upstream__attempts=1) as caller:
        await warmed(caller, age=FRESH + 1)
        sandbox.faults.add(CannedReply(500))
        reply = await caller.get("albums", [ONE], headers=control("max-age=0"))
        assert (reply.status, reply.cache) == (200, "fwd=stale; fwd-status=500")


async def test_max_stale_takes_any_stale_entry_without_asking(sandbox):
    async with gateway_on(sandbox, cache__stale_while_revalidate_seconds=0) as caller:
        await warmed(caller, age=FRESH + 5000)
        reply = await caller.get("albums", [ONE], headers=control("max-stale"))
        assert (reply.status, reply.cache, reply.counts["stale"]) == (200, "hit", 1)
        assert "ttl=-5001" in reply.headers["Cache-Status"]
        assert sandbox.calls.total == 1


async def test_max_stale_bounds_how_stale_an_answer_may_be(sandbox):
    async with gateway_on(sandbox, cache__stale_while_revalidate_seconds=0) as caller:
        await warmed(caller, age=FRESH + 20)
        enough = await caller.get("albums", [ONE], headers=control("max-stale=30"))
        assert (enough.cache, sandbox.calls.total) == ("hit", 1)
        too_little = await caller.get("albums", [ONE], headers=control("max-stale=10"))
        assert (too_little.cache, sandbox.calls.total) == ("fwd=miss; stored", 2)


async def test_max_stale_bounds_revalidation_too(gateway, sandbox):
    await warmed(gateway, age=FRESH + 20)
    sandbox.rate(ADA, Kind.ALBUMS, ONE, -1)
    reply = await gateway.get("albums", [ONE], headers=control("max-stale=10"))
    assert (reply.values, reply.cache) == ({ONE: -1}, "fwd=request; stored")


async def test_no_store_is_answered_from_the_cache_and_stores_nothing(gateway, sandbox):
    await warmed(gateway)
    hit = await gateway.get("albums", [ONE], headers=control("no-store"))
    assert (hit.cache, sandbox.calls.total) == ("hit", 1)
    for _ in range(2):
        reply = await gateway.get("albums", [TWO], headers=control("no-store"))
        assert (reply.values, reply.cache) == ({TWO: 1}, "fwd=miss")
    assert sandbox.calls.total == 3


async def test_a_fetch_begun_by_no_store_is_stored_for_another_request_that_joined(gateway, sandbox):
    hold = sandbox.hold()
    first = asyncio.ensure_future(gateway.get("albums", [ONE], headers=control("no-store")))
    await hold.reached()
    second = asyncio.ensure_future(gateway.get("albums", [ONE, TWO]))
    await hold.reached(2)
    hold.release()
    await asyncio.gather(first, second)
    assert (await gateway.get("albums", [ONE])).cache == "hit"
    assert asked(sandbox) == [[ONE], [TWO]]


async def test_only_if_cached_is_504_if_an_id_is_missing(gateway, sandbox):
    await warmed(gateway)
    known = await gateway.get("albums", [ONE], headers=ONLY_IF_CACHED)
    missing = await gateway.get("albums", [ONE, TWO], headers=ONLY_IF_CACHED)
    assert (known.status, known.cache) == (200, "hit")
    assert (missing.status, missing.code) == (504, "50400")
    # RFC 9211, section 2: none on what a cache generates by itself.
    assert not missing.headers.keys() & {"Proxy-Status", "Cache-Status"}
    assert sandbox.calls.total == 1


async def test_only_if_cached_serves_stale_entries_without_a_refresh(gateway, sandbox):
    await warmed(gateway, age=FRESH + 1)
    assert (await gateway.get("albums", [ONE], headers=ONLY_IF_CACHED)).cache == "hit"
    gateway.clock.shift += REVALIDATED
    assert (await gateway.get("albums", [ONE], headers=ONLY_IF_CACHED)).status == 504
    assert sandbox.calls.total == 1


async def test_only_if_cached_with_leniency_names_the_missing_ids(gateway, sandbox):
    await warmed(gateway)
    reply = await gateway.get("albums", [ONE, TWO], headers=ONLY_IF_CACHED | LENIENT)
    assert (reply.status, reply.values) == (200, {ONE: 1})
    assert [error["meta"]["id"] for error in reply.json["errors"]] == [TWO]
    assert sandbox.calls.total == 1


async def test_only_if_cached_keeps_a_bypass_from_apple_too(gateway, sandbox):
    reply = await gateway.ask("GET", f"{ROOT}/albums?ids={ONE}&new=1", headers=ONLY_IF_CACHED)
    assert (reply.status, reply.code, sandbox.calls.total) == (504, "50400", 0)


@pytest.mark.parametrize("given", ["", "max-age=soon", "max-age=-1", "max-age", "immutable", "max-stale=x"])
async def test_a_malformed_directive_is_ignored(gateway, sandbox, given):
    await warmed(gateway, age=20)
    assert (await gateway.get("albums", [ONE], headers=control(given))).cache == "hit"
    assert sandbox.calls.total == 1


@pytest.mark.parametrize("given", ["No-Cache", "foo=1, no-cache", 'private="a", no-cache', "max-age=0"])
async def test_directives_are_read_as_http_writes_them(gateway, sandbox, given):
    await warmed(gateway, age=20)
    assert (await gateway.get("albums", [ONE], headers=control(given))).cache == "fwd=request; stored"


async def test_a_lenient_request_gets_the_ratings_found_and_an_error_for_each_other_id(sandbox):
    async with gateway_on(sandbox, upstream__attempts=1) as caller:
        await warmed(caller, ONE)
        sandbox.faults.add(CannedReply(503))
        reply = await caller.get("albums", [TWO, ONE, 5], headers=LENIENT)
        assert (reply.status, reply.values) == (200, {ONE: 1})
        assert reply.headers["Preference-Applied"] == "handling=lenient"
        assert [error["meta"] for error in reply.json["errors"]] == [
            {"type": "albums", "id": TWO},
            {"type": "albums", "id": "5"},
        ]
        for error in reply.json["errors"]:
            assert (error["status"], error["code"]) == ("503", "50300")
            assert error["source"] == {"parameter": "ids"}
            assert len(error["id"]) == 26
            assert error["title"]


async def test_a_lenient_answer_with_failed_ids_has_the_cache_status_of_a_fetch(sandbox):
    async with gateway_on(sandbox, upstream__attempts=1) as caller:
        await warmed(caller, ONE)
        sandbox.faults.add(CannedReply(503))
        some = await caller.get("albums", [ONE, TWO], headers=LENIENT)
        none = await caller.get("albums", [TWO], headers=LENIENT)
        assert (some.cache, some.counts["local"], some.counts["upstream"]) == ("fwd=partial", 1, 0)
        assert (none.cache, none.json["data"]) == ("fwd=miss", [])


async def test_a_lenient_answer_stores_the_ratings_that_arrived(sandbox):
    async with gateway_on(sandbox, upstream__attempts=1, upstream__max_ids_per_call=1) as caller:
        sandbox.faults.poison(TWO)
        reply = await caller.get("albums", [ONE, TWO], headers=LENIENT)
        assert (reply.values, reply.cache) == ({ONE: 1}, "fwd=miss; stored")
        assert (await caller.get("albums", [ONE])).cache == "hit"


async def test_leniency_reaches_over_the_types_of_one_body(sandbox):
    async with gateway_on(sandbox, upstream__attempts=1) as caller:
        sandbox.faults.add(CannedReply(500), where=Where(kind=Kind.SONGS))
        body = {"ids": {"songs": ["900000001"], "albums": [ONE]}}
        strict = await caller.ask("POST", ROOT, body=body)
        lenient = await caller.ask("POST", ROOT, body=body, headers=LENIENT)
        assert (strict.status, strict.code) == (500, "50000")
        assert lenient.values == {ONE: 1}
        assert [error["meta"] for error in lenient.json["errors"]] == [{"type": "songs", "id": "900000001"}]


async def test_without_leniency_the_answer_is_the_error_of_the_first_failed_id(sandbox):
    async with gateway_on(sandbox, upstream__attempts=1, upstream__max_ids_per_call=1) as caller:
        sandbox.faults.add(CannedReply(502), where=Where(id=TWO))
        sandbox.faults.add(CannedReply(503), where=Where(id=THREE))
        forth = await caller.get("albums", [ONE, TWO, THREE])
        back = await caller.get("albums", [THREE, TWO, ONE])
        assert (forth.status, back.status) == (502, 503)
        assert (await caller.get("albums", [ONE])).cache == "hit"


@pytest.mark.parametrize(
    "preference", ["handling=lenient", "respond-async, handling=lenient", 'Handling="lenient"; x=1']
)
async def test_the_preference_is_read_as_rfc_7240_writes_it(gateway, preference):
    reply = await gateway.get("albums", [ONE], headers={"Prefer": preference})
    assert reply.headers["Preference-Applied"] == "handling=lenient"


@pytest.mark.parametrize("preference", ["handling=strict", "lenient", "handling=lenient2"])
async def test_other_preferences_make_nothing_lenient(sandbox, preference):
    async with gateway_on(sandbox, upstream__attempts=1) as caller:
        sandbox.faults.add(CannedReply(500))
        reply = await caller.get("albums", [ONE], headers={"Prefer": preference})
        assert reply.status == 500
        assert "Preference-Applied" not in reply.headers


IN_300_MS = {"X-Request-Timeout-Ms": "300"}
FORMS = {
    "many": lambda caller: caller.get("albums", [ONE], headers=IN_300_MS),
    "one": lambda caller: caller.one("albums", ONE, headers=IN_300_MS),
    "several": lambda caller: caller.ask("POST", ROOT, body={"ids": {"albums": [ONE]}}, headers=IN_300_MS),
    "bypass": lambda caller: caller.ask("GET", f"{ROOT}/albums?ids={ONE}&new=1", headers=IN_300_MS),
    "write": lambda caller: caller.rate("albums", ONE, 1, headers=IN_300_MS),
}


async def test_a_caller_with_300_ms_gets_its_504_within_350(gateway, sandbox):
    sandbox.hold()
    reply, seconds = await best_of_three(lambda: FORMS["many"](gateway))
    assert (reply.status, reply.code) == (504, "50400")
    assert reply.headers["Proxy-Status"] == "ratings-gateway; error=http_response_timeout"
    assert 0.3 <= seconds <= 0.35


async def test_past_a_callers_300_ms_a_stale_entry_is_served_within_350(sandbox):
    async with gateway_on(sandbox, cache__stale_while_revalidate_seconds=0) as caller:
        await warmed(caller, age=FRESH + 1)
        sandbox.hold()
        reply, seconds = await best_of_three(lambda: FORMS["many"](caller))
        assert (reply.status, reply.values, reply.cache) == (200, {ONE: 1}, "fwd=stale")
        assert 0.3 <= seconds <= 0.35


@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_the_time_that_it_names(form):
    async def story(latency):
        async with scene() as scenery:
            caller, sandbox = scenery
            sandbox.faults.add(Latency(latency))
            began = scenery.now
            reply = await FORMS[form](caller)
            return reply, scenery.now - began

    late, seconds = play(story(latency=0.4))
    assert (late.status, late.code, seconds) == (504, "50400", pytest.approx(0.3, abs=0.01))
    early, seconds = play(story(latency=0.29))
    assert (early.status, early.values, seconds) == (200, {ONE: 1}, pytest.approx(0.29, abs=0.01))


def test_a_callers_time_covers_the_tries_and_the_waits_between_them():
    async def story():
        async with scene() as scenery:
            caller, sandbox = scenery
            sandbox.faults.add(CannedReply(429))
            began = scenery.now
            reply = await caller.get("albums", [ONE], headers={"X-Request-Timeout-Ms": "700"})
            return reply.status, scenery.now - began

    assert play(story()) == (504, pytest.approx(0.7, abs=0.01))


def test_without_a_timeout_in_the_request_the_setting_applies():
    async def story():
        async with scene(server__request_timeout_seconds=2) as scenery:
            caller, sandbox = scenery
            sandbox.faults.add(Latency(60))
            began = scenery.now
            reply = await caller.get("albums", [ONE])
            return reply.status, scenery.now - began

    assert play(story()) == (504, pytest.approx(2, abs=0.01))


def test_ratings_that_arrived_in_time_are_served_beside_a_504_for_the_rest():
    async def story():
        async with scene(upstream__max_ids_per_call=1) as (caller, sandbox):
            sandbox.faults.add(Latency(60), where=Where(id=TWO))
            return await caller.get("albums", [ONE, TWO], headers=IN_300_MS | LENIENT)

    reply = play(story())
    assert (reply.values, reply.cache) == ({ONE: 1}, "fwd=miss; stored")
    assert [(error["meta"]["id"], error["code"]) for error in reply.json["errors"]] == [(TWO, "50400")]


async def test_a_fetch_outlives_the_caller_whose_time_is_up_and_fills_the_cache(gateway, sandbox):
    hold = sandbox.hold()
    reply = await gateway.get("albums", [ONE], headers={"X-Request-Timeout-Ms": "50"})
    hold.release()
    await sandbox.calls.until_ended(1)
    after = await gateway.get("albums", [ONE])
    assert (reply.status, after.values, sandbox.calls.total) == (504, {ONE: 1}, 1)


def test_a_call_has_its_own_timeout_if_every_caller_has_less_time():
    async def story():
        async with scene(server__request_timeout_seconds=0.5) as (caller, sandbox):
            sandbox.faults.add(Latency(1))
            late = await caller.get("albums", [ONE])
            await asyncio.sleep(1)
            return late.status, await caller.get("albums", [ONE]), sandbox.calls.total

    late, after, calls = play(story())
    assert (late, after.values, after.cache, calls) == (504, {ONE: 1}, "hit", 1)


async def test_a_short_timeout_of_one_caller_does_not_shorten_others(gateway, sandbox):
    hold = sandbox.hold()
    short = asyncio.ensure_future(gateway.get("albums", [ONE], headers={"X-Request-Timeout-Ms": "50"}))
    await hold.reached()
    long = asyncio.ensure_future(gateway.get("albums", [ONE]))
    assert (await short).status == 504
    hold.release()
    assert (await long).values == {ONE: 1}
    assert sandbox.calls.total == 1


@pytest.mark.parametrize("given", ["0", "-1", "1.5", "soon", "600001", ""])
async def test_a_time_that_makes_no_sense_is_refused(gateway, sandbox, given):
    reply = await gateway.get("albums", [ONE], headers={"X-Request-Timeout-Ms": given})
    assert (reply.status, reply.code) == (400, "40005")
    assert reply.json["errors"][0]["source"] == {"parameter": "X-Request-Timeout-Ms"}
    assert sandbox.calls.total == 0


async def test_errors_keep_nothing_of_the_requests_that_they_answered(gateway):
    gc.collect()
    before = exchanges()
    gc.disable()
    try:
        for number in range(10):
            assert (await gateway.get("albums", [ONE], headers=ONLY_IF_CACHED)).status == 504
            assert (await gateway.get("albums", [f"l.{number}"])).status == 400
            assert (await gateway.get("artists", [number])).status == 400
            assert (await gateway.one("albums", "l.1")).status == 400
            for body in (b"{", {"ids": {"albums": ["l.1"]}}, {"ids": {"artists": ["1"]}}, b" " * 3_000_000):
                assert (await gateway.ask("POST", ROOT, body=body)).status in (400, 413)
            assert (await gateway.rate("albums", ONE, 7)).status == 400
            assert (await gateway.get("albums", [ONE], user=REVOKED)).status == 403
            assert (await gateway.get("albums", [ONE], "&new=1", user=UNSUBSCRIBED)).status == 400
            assert (await gateway.rate("albums", ONE, 1, user=UNSUBSCRIBED)).status == 400
        gateway.served.gateway.api.flush()  # what was answered a moment ago waits to be counted
        assert exchanges() - before < 10
    finally:
        gc.enable()


def exchanges() -> int:
    return sum(isinstance(kept, RequestRecord) for kept in gc.get_objects())


async def best_of_three(asking):
    """The last reply and the least time that one took: a shared machine may be late once."""
    seconds = []
    for _ in range(3):
        began = time.monotonic()
        reply = await asking()
        seconds.append(time.monotonic() - began)
        if seconds[-1] <= 0.35:
            break
    return reply, min(seconds)
