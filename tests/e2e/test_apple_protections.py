"""What stands between callers and a failing Apple: stale ratings, retries, breaker, quarantine, renewal."""

import asyncio
from itertools import pairwise

import pytest

from gateway.sandbox import ADA, REVOKED, CannedReply, Latency, SlowBody, Truncate, Where
from tests.e2e.clock_jumps import play, scene
from tests.e2e.harness import ROOT, gateway_on

ONE = "1138988512"
TWO = "475655712"
UNRATED = 5_000_000_000
LENIENT = {"Prefer": "handling=lenient"}
FRESH = 300
STALE_IF_ERROR = 86_400

# -- stale ratings and what is passed on


@pytest.mark.parametrize("effect", [CannedReply(404), CannedReply(200)])
async def test_a_sound_answer_without_ratings_means_unrated(gateway, sandbox, effect):
    sandbox.faults.add(effect, times=1)
    assert (await gateway.get("albums", [5, 6])).json == {"data": []}
    again = await gateway.get("albums", [5, 6])
    assert (again.cache, sandbox.calls.total) == ("hit", 1)


@pytest.mark.parametrize(("status", "named", "told"), [(429, 7, "7"), (503, 30, "30"), (429, "soon", "1")])
async def test_how_long_apple_asks_to_wait_is_passed_on(sandbox, status, named, told):
    async with gateway_on(sandbox, upstream__attempts=1) as caller:
        sandbox.faults.add(CannedReply(status, retry_after=named))
        assert (await caller.get("albums", [ONE])).headers["Retry-After"] == told


async def test_a_stale_entry_does_not_answer_for_a_missing_id(sandbox):
    async with gateway_on(sandbox, upstream__attempts=1, cache__stale_while_revalidate_seconds=0) as caller:
        await caller.get("albums", [ONE])
        caller.clock.shift += FRESH + 1
        sandbox.faults.add(CannedReply(503))
        strict = await caller.get("albums", [ONE, TWO])
        lenient = await caller.get("albums", [ONE, TWO], headers=LENIENT)
        assert strict.status == 503
        assert (lenient.values, lenient.cache) == ({ONE: 1}, "fwd=stale; fwd-status=503")
        assert [error["meta"]["id"] for error in lenient.json["errors"]] == [TWO]
        assert lenient.counts == {"local": 1, "shared": 0, "upstream": 0, "stale": 1}


async def test_only_ids_that_apple_failed_for_are_stale(sandbox):
    async with gateway_on(
        sandbox, upstream__attempts=1, upstream__max_ids_per_call=1, cache__stale_while_revalidate_seconds=0
    ) as caller:
        await caller.get("albums", [ONE])
        caller.clock.shift += FRESH - 1
        await caller.get("albums", [TWO])
        caller.clock.shift += 2
        sandbox.faults.poison(ONE)
        reply = await caller.get("albums", [ONE, TWO, 5])
        assert (reply.values, reply.cache) == ({ONE: 1, TWO: 1}, "fwd=stale; fwd-status=500")
        assert reply.counts == {"local": 2, "shared": 0, "upstream": 1, "stale": 1}
        assert reply.headers["Age"] == str(FRESH + 1)


async def test_staleness_has_an_end(sandbox):
    async with gateway_on(sandbox, upstream__attempts=1) as caller:
        await caller.get("albums", [ONE])
        sandbox.faults.add(CannedReply(500))
        caller.clock.shift += FRESH + STALE_IF_ERROR - 1
        assert (await caller.get("albums", [ONE])).status == 200
        caller.clock.shift += 2
        assert (await caller.get("albums", [ONE])).status == 500


# -- retries


@pytest.mark.parametrize(("effect", "reason"), [(CannedReply(503), "503"), (Truncate(), "connection")])
def test_what_may_pass_is_tried_again(effect, reason):
    async def story():
        async with scene() as (caller, sandbox):
            sandbox.faults.add(effect, times=2)
            reply = await caller.get("albums", [ONE, 5])
            retries = caller.sample("gateway_upstream_retries_total", reason=reason)
            return reply.status, reply.values, sandbox.calls.total, retries

    assert play(story()) == (200, {ONE: 1}, 3, 2)


@pytest.mark.parametrize(("times", "calls"), [(1, 2), (2, 2 + 2)])
def test_what_is_not_answered_in_time_is_tried_once_more_and_then_in_halves(times, calls):
    async def story():
        async with scene() as (caller, sandbox):
            sandbox.faults.add(SlowBody(60), times=times)
            reply = await caller.get("albums", [ONE, 5])
            retries = caller.sample("gateway_upstream_retries_total", reason="connection")
            return reply.status, reply.values, sandbox.calls.total, retries

    assert play(story()) == (200, {ONE: 1}, calls, 1)


async def waits_of(effect, times, **settings):
    """Seconds between a call's end and the next one's beginning, and the reply."""
    async with scene(**settings) as (caller, sandbox):
        sandbox.faults.add(effect, times=times)
        reply = await caller.get("albums", [ONE])
        calls = list(sandbox.calls)
        return [after.started - (before.ended or 0) for before, after in pairwise(calls)], reply


def test_a_429_is_tried_again_after_about_half_a_second_that_varies():
    waits = [play(waits_of(CannedReply(429), 1))[0] for _ in range(5)]
    assert all(0.45 <= wait <= 0.66 for (wait,) in waits)
    assert len({wait for (wait,) in waits}) > 1  # two of them may be equal by chance


def test_how_long_apple_asks_to_wait_is_a_floor():
    (wait,), reply = play(waits_of(CannedReply(429, retry_after=2), 1))
    assert 2 <= wait <= 2.2
    assert reply.status == 200


def test_a_caller_that_leaves_before_the_next_try_gets_apples_status():
    async def story():
        async with scene(cache__stale_while_revalidate_seconds=0, cache__fresh_seconds=1) as scenery:
            caller, sandbox = scenery
            await caller.get("albums", [ONE])
            await asyncio.sleep(2)
            sandbox.faults.add(CannedReply(503, retry_after=5))
            stale, late = [
                await caller.get("albums", [id_], headers={"X-Request-Timeout-Ms": "3000"})
                for id_ in (ONE, TWO)
            ]
            return stale.cache, late.code, late.headers["Proxy-Status"]

    assert play(story()) == (
        "fwd=stale; fwd-status=503",
        "50400",
        "ratings-gateway; error=http_response_timeout; received-status=503",
    )


def test_five_tries_are_made_and_no_more():
    waits, reply = play(waits_of(CannedReply(500), None))
    assert (len(waits), reply.status) == (4, 500)
    assert waits[0] < waits[-1] < 2


def test_no_try_is_begun_that_would_end_after_the_deadline():
    async def story():
        async with scene(server__request_timeout_seconds=2) as scenery:
            caller, sandbox = scenery
            sandbox.faults.add(CannedReply(429, retry_after=5))
            began = scenery.now
            reply = await caller.get("albums", [ONE])
            return reply.status, reply.headers["Retry-After"], sandbox.calls.total, scenery.now - began

    status, told, calls, seconds = play(story())
    assert (status, told, calls) == (429, "5", 1)
    assert seconds < 0.1


@pytest.mark.parametrize("callers", [4, 120])
def test_retries_are_a_fifth_of_the_calls_at_most(callers):
    async def story():
        async with scene(upstream__breaker_min_calls=10_000) as (caller, sandbox):
            sandbox.faults.add(CannedReply(500))
            for number in range(callers):
                await caller.get("albums", [UNRATED + number])
            return sandbox.calls.total

    calls = play(story())
    retries = calls - callers
    assert retries <= max(30, calls / 5)
    assert retries >= min(4 * callers, 25)


# -- the breaker

GUARDED = {"upstream__attempts": 1, "upstream__breaker_min_calls": 4, "upstream__quarantine_seconds": 0}


async def break_off(caller, sandbox):
    """Have the breaker open; a rating of ONE is cached and stale."""
    await caller.get("albums", [ONE])
    caller.clock.shift += FRESH + 400
    sandbox.faults.add(CannedReply(500))
    for number in range(4):
        assert (await caller.get("albums", [UNRATED + number])).status == 500
    sandbox.calls.clear()


async def test_after_too_many_errors_apple_is_left_alone(sandbox):
    async with gateway_on(sandbox, **GUARDED) as caller:
        await break_off(caller, sandbox)
        reply = await caller.get("albums", [5])
        stale = await caller.get("albums", [ONE])
        assert (reply.status, reply.code, reply.headers["Retry-After"]) == (503, "50300", "5")
        assert reply.headers["Proxy-Status"] == "ratings-gateway; error=destination_unavailable"
        assert (stale.status, stale.values, stale.cache) == (200, {ONE: 1}, "fwd=stale")
        assert caller.sample("gateway_breaker_state", target="apple") == 2
        assert sandbox.calls.total == 0


async def writes_refused_here(caller, sandbox, user=ADA):
    """Send every kind of write of ONE: each must be refused without a call to Apple. Returns the replies."""
    calls = sandbox.calls.total
    replies = [
        await caller.rate("albums", ONE, -1, user=user),
        await caller.unrate("albums", ONE, user=user),
        await caller.ask("POST", f"/v1/me/favorites?ids[albums]={ONE},{TWO}", user=user),
    ]
    assert {reply.cache for reply in replies} == {"fwd=method"}
    assert sandbox.calls.total == calls
    return replies


async def test_while_it_is_open_a_write_leaves_the_cached_ratings(sandbox):
    async with gateway_on(sandbox, **GUARDED) as caller:
        await break_off(caller, sandbox)
        for reply in await writes_refused_here(caller, sandbox):
            assert (reply.status, reply.code, reply.headers["Retry-After"]) == (503, "50300", "5")
            assert reply.headers["Proxy-Status"] == "ratings-gateway; error=destination_unavailable"
        stale = await caller.get("albums", [ONE])
        assert (stale.values, stale.cache) == ({ONE: 1}, "fwd=stale")


async def test_a_single_probe_decides_whether_the_breaker_closes(sandbox):
    async with gateway_on(sandbox, **GUARDED) as caller:
        await break_off(caller, sandbox)
        sandbox.faults.clear()
        caller.clock.shift += 5
        hold = sandbox.hold()
        probe = asyncio.ensure_future(caller.get("albums", [5]))
        await hold.reached()
        assert caller.sample("gateway_breaker_state", target="apple") == 1
        others = await asyncio.gather(*(caller.get("albums", [n]) for n in range(6, 16)))
        assert {reply.status for reply in others} == {503}
        assert {reply.headers["Retry-After"] for reply in others} == {"1"}
        hold.release()
        assert (await probe).status == 200
        assert caller.sample("gateway_breaker_state", target="apple") == 0
        assert (await caller.get("albums", [6])).status == 200
        assert sandbox.calls.total == 2


async def test_a_probe_that_fails_leaves_the_breaker_open(sandbox):
    async with gateway_on(sandbox, **GUARDED) as caller:
        await break_off(caller, sandbox)
        caller.clock.shift += 5
        statuses = [(await caller.get("albums", [n])).status for n in (5, 6)]
        assert (statuses, sandbox.calls.total) == ([500, 503], 1)
        assert caller.sample("gateway_breaker_state", target="apple") == 2


def test_silence_opens_the_breaker_though_callers_wait_less_than_a_call():
    async def story():
        async with scene(server__request_timeout_seconds=0.5, upstream__breaker_min_calls=5) as scenery:
            caller, sandbox = scenery
            sandbox.faults.add(Latency(60))
            late = await asyncio.gather(*(caller.get("albums", [n], user=ADA) for n in range(3, 8)))
            late += await asyncio.gather(*(caller.get("songs", [n], f"&l={n}") for n in range(5)))
            await asyncio.sleep(3)
            return {reply.status for reply in late}, caller.sample("gateway_breaker_state", target="apple")

    assert play(story()) == ({504}, 2)


# -- quarantine


async def test_a_user_whom_apple_refused_is_refused_here_for_a_while(gateway, sandbox):
    first = await gateway.get("albums", [1], user=REVOKED)
    second = await gateway.get("songs", [2], user=REVOKED)
    assert first.headers["Proxy-Status"] == "ratings-gateway; received-status=403"
    assert (second.status, second.body) == (403, first.body)
    assert "received-status" not in second.headers["Proxy-Status"]
    assert gateway.sample("gateway_quarantined_requests_total") == 1
    assert (await gateway.get("albums", [ONE])).status == 200
    assert sandbox.calls.total == 2
    gateway.clock.shift += 10
    again = await gateway.get("albums", [1], user=REVOKED)
    assert again.headers["Proxy-Status"] == "ratings-gateway; received-status=403"
    assert sandbox.calls.total == 3


async def test_writes_and_bypassing_reads_are_refused_in_quarantine_too(gateway, sandbox):
    await gateway.get("albums", [1], user=REVOKED)
    assert (await gateway.rate("albums", 1, 1, user=REVOKED)).status == 403
    assert (await gateway.unrate("albums", 1, user=REVOKED)).status == 403
    assert (await gateway.ask("GET", f"{ROOT}/albums?ids=1&new=1", user=REVOKED)).status == 403
    assert gateway.sample("gateway_quarantined_requests_total") == 3
    assert sandbox.calls.total == 1


async def test_in_quarantine_a_write_leaves_the_cached_ratings(gateway, sandbox):
    await gateway.get("albums", [ONE])
    await gateway.get("library-albums", ["l.1"])
    sandbox.faults.add(CannedReply(403), where=Where(user=ADA), times=1)
    assert (await gateway.get("albums", [5])).status == 403
    replies = await writes_refused_here(gateway, sandbox)
    assert {(reply.status, reply.headers["Proxy-Status"]) for reply in replies} == {(403, "ratings-gateway")}
    assert gateway.sample("gateway_quarantined_requests_total") == 3
    assert (await gateway.get("albums", [ONE])).cache == "hit"
    assert (await gateway.get("library-albums", ["l.1"])).cache == "hit"


@pytest.mark.parametrize("swr", [0, 300])
async def test_in_quarantine_fresh_entries_are_served_and_stale_ones_never(sandbox, swr):
    async with gateway_on(
        sandbox, cache__fresh_seconds=5, cache__stale_while_revalidate_seconds=swr
    ) as caller:
        await caller.get("albums", [ONE])
        caller.clock.shift += 2
        await caller.get("albums", [TWO])
        sandbox.faults.add(CannedReply(403), where=Where(user=ADA), times=1)
        assert (await caller.get("albums", [5])).status == 403
        assert (await caller.get("albums", [ONE, TWO])).cache == "hit"
        caller.clock.shift += 4
        assert (await caller.get("albums", [TWO])).cache == "hit"
        for headers, status in (
            ({}, 403),
            ({"Cache-Control": "max-stale"}, 403),
            ({"Cache-Control": "only-if-cached"}, 504),
            ({"X-Request-Timeout-Ms": "1"}, 504),
        ):
            refused = await caller.get("albums", [ONE, TWO], headers=headers)
            assert refused.status == status
        lenient = await caller.get("albums", [ONE, TWO], headers=LENIENT)
        assert lenient.values == {TWO: 1}
        assert lenient.cache == "fwd=partial"
        assert lenient.json["errors"][0]["code"] == "40300"
        assert sandbox.calls.total == 3
        caller.clock.shift += 10
        assert (await caller.get("albums", [ONE])).status == 200


# -- the developer token


async def test_a_refused_developer_token_is_minted_anew_and_the_call_repeated_once(gateway, sandbox):
    sandbox.faults.add(CannedReply(401), times=2)
    assert (await gateway.get("albums", [ONE])).values == {ONE: 1}
    assert gateway.sample("gateway_developer_token_mints_total", reason="refused") == 1
    assert gateway.sample("gateway_upstream_retries_total", reason="401") == 1
    assert gateway.sample("gateway_upstream_requests_total", operation="test", status="401") == 1
    assert sandbox.calls.total == 3


async def test_a_developer_token_refused_for_good_is_401_in_the_gateways_envelope(gateway, sandbox):
    sandbox.faults.add(CannedReply(401))
    for calls in (3, 4):
        reply = await gateway.get("albums", [ONE])
        error = reply.json["errors"][0]
        assert (reply.status, error["code"], error["status"]) == (401, "40100", "401")
        assert (len(error["id"]), bool(error["title"])) == (26, True)
        assert sandbox.calls.total == calls
    gateway.clock.shift += 31
    await gateway.get("albums", [ONE])
    assert gateway.sample("gateway_developer_token_mints_total", reason="refused") == 2
    assert sandbox.calls.total == 7


async def test_calls_refused_together_mint_one_token(sandbox):
    async with gateway_on(sandbox, upstream__max_ids_per_call=1) as caller:
        hold = sandbox.hold(times=10)
        sandbox.faults.add(CannedReply(401), times=11)
        asking = asyncio.ensure_future(caller.get("albums", [ONE, *range(1, 10)]))
        await hold.reached(10)
        hold.release()
        assert (await asking).values == {ONE: 1}
        assert caller.sample("gateway_developer_token_mints_total", reason="refused") == 1
        assert sandbox.calls.total == 21


async def test_a_token_that_apple_really_refuses_is_replaced_by_one_that_it_takes(sandbox):
    async with gateway_on(sandbox) as caller:
        sandbox.tokens.distrust(sandbox.credentials.key_id)
        assert (await caller.get("albums", [ONE])).status == 401
        sandbox.tokens.trust(sandbox.credentials.trusted())
        assert (await caller.get("albums", [ONE])).values == {ONE: 1}


# -- slow and silent


def test_an_answer_that_comes_too_slowly_is_a_504_at_the_deadline():
    async def story():
        async with scene() as scenery:
            caller, sandbox = scenery
            sandbox.faults.add(SlowBody(60))
            began = scenery.now
            reply = await caller.get("albums", [ONE])
            seconds = scenery.now - began
            sandbox.faults.clear()
            await asyncio.sleep(1)
            return reply, seconds, await caller.get("albums", [ONE, 5])

    reply, seconds, well = play(story())
    assert (reply.status, reply.code) == (504, "50400")
    assert 9.9 < seconds < 10.1
    assert (well.values, well.counts["upstream"]) == ({ONE: 1}, 2)
