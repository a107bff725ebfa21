"""Bursts of requests cost few calls: single flight, batches, splitting, queue order, refreshes."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, TCPConnector

from gateway.model import Kind
from gateway.sandbox import ADA, BEN, CLEO, CannedReply, MaxIds, Reset, Truncate, Where
from tests.e2e.clock_jumps import play, scene
from tests.e2e.harness import ROOT, Caller, gateway_on, until

ONE = "1138988512"
TWO = "475655712"
THREE = "700000001"
UNRATED = 5_000_000_000
LENIENT = {"Prefer": "handling=lenient"}
FRESH = 300
LONG = 1000
"""Milliseconds: a window that only a full batch ends in time."""


def asked(sandbox):
    return [sorted(call.ids) for call in sandbox.calls]


def sizes(sandbox):
    return [len(call.ids) for call in sandbox.calls]


def unrated(count, start=0):
    return [str(UNRATED + start + n) for n in range(count)]


@asynccontextmanager
async def crowd(gateway, connections):
    """A caller with that many connections open, so that a burst of requests arrives as one."""
    async with ClientSession(connector=TCPConnector(limit=0)) as session:
        caller = Caller(session, gateway.served, gateway.clock)
        await asyncio.gather(*(caller.ask("GET", "/") for _ in range(connections)))
        yield caller


def running(name):
    """How many of the gateway's tasks with this name there are: `fetch` waits for Apple, or for its turn."""
    return sum(task.get_name() == name for task in asyncio.all_tasks())


async def joined(gateway, ids):
    """Wait until that many ids have joined another request's fetch."""
    await until(lambda: gateway.sample("gateway_coalesced_ids_total") >= ids)


# -- single flight


async def test_200_callers_with_overlapping_ids_cost_the_fewest_calls_possible(sandbox):
    ids = unrated(250)
    hold = sandbox.hold()
    async with gateway_on(sandbox, upstream__batch_window_ms=LONG) as gateway, crowd(gateway, 200) as callers:
        burst = [
            asyncio.ensure_future(callers.get("albums", [ids[(caller + 5 * n) % 250] for n in range(40)]))
            for caller in range(200)
        ]
        await joined(gateway, 200 * 40 - 250)
        hold.release()
        replies = await asyncio.gather(*burst)
    assert {reply.status for reply in replies} == {200}
    assert sorted(sizes(sandbox)) == [50, 100, 100]
    assert not sandbox.calls.doubles


async def test_ids_in_flight_are_waited_for_and_only_the_rest_is_fetched(gateway, sandbox):
    hold = sandbox.hold()
    first = asyncio.ensure_future(gateway.get("albums", [ONE, TWO, THREE]))
    await hold.reached()
    second = asyncio.ensure_future(gateway.get("albums", [TWO, THREE, 4]))
    await hold.reached(2)
    hold.release()
    one, two = await asyncio.gather(first, second)
    assert asked(sandbox) == [sorted([ONE, TWO, THREE]), ["4"]]
    assert (one.values, two.values) == ({ONE: 1, TWO: 1, THREE: -1}, {TWO: 1, THREE: -1})
    assert (one.cache, two.cache) == ("fwd=miss; stored", "fwd=miss; stored; collapsed")
    assert two.counts == {"local": 0, "shared": 0, "upstream": 3, "stale": 0}
    assert (await gateway.metrics())["gateway_coalesced_ids_total"] == 2


@pytest.mark.parametrize("form", ["one", "many", "several", "no-cache", "lenient"])
async def test_every_form_of_a_read_joins_fetches_in_flight(gateway, sandbox, form):
    hold = sandbox.hold()
    first = asyncio.ensure_future(gateway.get("albums", [ONE, TWO]))
    await hold.reached()
    second = asyncio.ensure_future(
        {
            "one": lambda: gateway.one("albums", ONE),
            "many": lambda: gateway.get("albums", [ONE]),
            "several": lambda: gateway.ask("POST", ROOT, body={"ids": {"albums": [ONE]}}),
            "no-cache": lambda: gateway.get("albums", [ONE], headers={"Cache-Control": "no-cache"}),
            "lenient": lambda: gateway.get("albums", [ONE], headers=LENIENT),
        }[form]()
    )
    await joined(gateway, 1)
    hold.release()
    assert (await second).values == {ONE: 1}
    assert (await first).values == {ONE: 1, TWO: 1}
    assert sandbox.calls.total == 1


async def test_users_types_and_variants_share_no_fetch(gateway, sandbox):
    hold = sandbox.hold()
    requests = [
        asyncio.ensure_future(request)
        for request in (
            gateway.get("albums", [ONE]),
            gateway.get("albums", [ONE], user=BEN),
            gateway.get("songs", [ONE]),
            gateway.get("albums", [ONE], "&l=de"),
        )
    ]
    await hold.reached(4)
    hold.release()
    ada, ben, song, german = await asyncio.gather(*requests)
    assert (ada.values, ben.values, song.values, german.values) == ({ONE: 1}, {ONE: -1}, {}, {ONE: 1})


async def test_a_caller_that_disconnects_while_its_ids_are_in_flight_does_not_affect_the_others(
    gateway, sandbox
):
    hold = sandbox.hold()
    async with ClientSession() as doomed:
        first = asyncio.ensure_future(Caller(doomed, gateway.served, gateway.clock).get("albums", [ONE, TWO]))
        await hold.reached()
        others = [asyncio.ensure_future(gateway.get("albums", [ONE, TWO])) for _ in range(20)]
        await joined(gateway, 40)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
    hold.release()
    replies = await asyncio.gather(*others)
    assert [reply.values for reply in replies] == [{ONE: 1, TWO: 1}] * 20
    assert sandbox.calls.total == 1


async def test_a_fetch_fills_the_cache_after_all_callers_have_left(gateway, sandbox):
    hold = sandbox.hold()
    async with ClientSession() as doomed:
        caller = Caller(doomed, gateway.served, gateway.clock)
        leaving = [asyncio.ensure_future(caller.get("albums", [ONE])) for _ in range(5)]
        await hold.reached()
        await joined(gateway, 4)
        for request in leaving:
            request.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
    hold.release()
    await sandbox.calls.until_ended(1)
    assert (await gateway.get("albums", [ONE])).values == {ONE: 1}
    assert sandbox.calls.total == 1


@pytest.mark.parametrize(
    "effect",
    [
        CannedReply(500),
        CannedReply(400),
        CannedReply(403, "html"),
        CannedReply(200, "html"),
        Truncate(),
        Reset(),
    ],
)
async def test_a_failure_reaches_every_waiting_request(sandbox, effect):
    calls = 1 if effect == CannedReply(403, "html") else 1 + 2
    async with gateway_on(sandbox, upstream__attempts=1) as caller:
        hold = sandbox.hold()
        sandbox.faults.add(effect)
        waiting = [asyncio.ensure_future(caller.get("albums", [ONE, 5])) for _ in range(20)]
        await hold.reached()
        await joined(caller, 19 * 2)
        hold.release()
        replies = await asyncio.gather(*waiting)
        assert len({(reply.status, reply.code) for reply in replies}) == 1
        assert replies[0].status in (400, 403, 500, 502)
        assert sandbox.calls.total == calls
        sandbox.faults.clear()
        assert (await caller.get("albums", [ONE, 5])).values == {ONE: 1}


@pytest.mark.parametrize("drain_seconds", [0, 0.05])
async def test_a_gateway_that_stops_answers_the_requests_that_wait(sandbox, drain_seconds):
    hold = sandbox.hold()
    async with asyncio.timeout(5), ClientSession() as session:
        async with gateway_on(sandbox, server__drain_seconds=drain_seconds) as caller:
            staying = Caller(session, caller.served, caller.clock)
            waiting = [asyncio.ensure_future(staying.get("albums", [ONE])) for _ in range(5)]
            await hold.reached()
        replies = await asyncio.gather(*waiting)
    assert {(reply.status, reply.code) for reply in replies} == {(503, "50300")}


# -- batches


async def test_50_single_reads_at_once_are_one_call(sandbox):
    ids = unrated(50)
    window = {"upstream__batch_window_ms": LONG, "upstream__max_ids_per_call": 50}
    async with gateway_on(sandbox, **window) as gateway, crowd(gateway, 50) as callers:
        replies = await asyncio.gather(*(callers.one("albums", id_) for id_ in ids))
    assert {reply.status for reply in replies} == {404}
    assert asked(sandbox) == [ids]


async def test_every_form_of_a_read_joins_one_batch(sandbox):
    async with gateway_on(sandbox, upstream__batch_window_ms=LONG, upstream__max_ids_per_call=6) as caller:
        one, many, several = await asyncio.gather(
            caller.one("albums", ONE),
            caller.get("albums", [TWO, 5]),
            caller.ask("POST", ROOT, body={"ids": {"albums": [THREE, "6", "7"]}}),
        )
        assert (one.values, many.values, several.values) == ({ONE: 1}, {TWO: 1}, {THREE: -1})
        assert asked(sandbox) == [sorted([ONE, TWO, "5", THREE, "6", "7"])]


async def test_users_types_and_variants_share_no_batch(sandbox):
    async with gateway_on(sandbox, upstream__batch_window_ms=LONG, upstream__max_ids_per_call=2) as caller:
        await asyncio.gather(
            *(
                request
                for id_ in (ONE, TWO)
                for request in (
                    caller.one("albums", id_),
                    caller.one("albums", id_, user=BEN),
                    caller.one("songs", id_),
                    caller.get("albums", [id_], "&l=de"),
                )
            )
        )
        calls = [(call.user, call.kind, call.query, sorted(call.ids)) for call in sandbox.calls]
        both = sorted([ONE, TWO])
        assert sorted(calls) == [
            ("ada", Kind.ALBUMS, "", both),
            ("ada", Kind.ALBUMS, "l=de", both),
            ("ada", Kind.SONGS, "", both),
            ("ben", Kind.ALBUMS, "", both),
        ]


def test_ids_that_keep_coming_do_not_extend_the_window_of_5_ms():
    async def story():
        async with scene() as (caller, sandbox):
            began = caller.clock.monotonic()
            await trickle(caller, unrated(8), every=0.002)
            return [(len(call.ids), round(call.started - began, 3)) for call in sandbox.calls]

    # Asked for at 0, 2, 4, …, 14 ms; each batch is dispatched 5 ms after its first id.
    assert play(story()) == [(3, 0.005), (3, 0.011), (2, 0.017)]


def test_full_batches_are_dispatched_at_once_and_the_rest_after_one_window():
    async def story():
        async with scene() as (caller, sandbox):
            began = caller.clock.monotonic()
            await caller.get("albums", unrated(250))
            return [(len(call.ids), round(call.started - began, 3)) for call in sandbox.calls]

    assert play(story()) == [(100, 0), (100, 0), (50, 0.005)]


def test_a_call_in_flight_does_not_delay_the_ids_that_come_after_it():
    async def story():
        async with scene() as (caller, sandbox):
            hold = sandbox.hold()
            began = caller.clock.monotonic()
            asking = asyncio.ensure_future(trickle(caller, unrated(4), every=0.01))
            await hold.reached(4)
            started = [round(call.started - began, 3) for call in sandbox.calls]
            hold.release()
            await asking
            return started, sizes(sandbox)

    assert play(story()) == ([0.005, 0.015, 0.025, 0.035], [1, 1, 1, 1])


async def trickle(caller, ids, *, every):
    """Ask for one id `every` so many seconds, without waiting for the answers."""
    async with asyncio.TaskGroup() as asking:
        for id_ in ids:
            asking.create_task(caller.one("albums", id_))
            await asyncio.sleep(every)


# -- splitting


@pytest.mark.parametrize(("status", "samples"), [(400, []), (413, []), (414, []), (504, [1, 1, 1])], ids=str)
async def test_a_batch_that_apple_refuses_as_too_large_is_halved(sandbox, status, samples):
    """A 504 may mean that Apple fails: ids asked for by themselves show that it does not."""
    async with gateway_on(sandbox, upstream__attempts=1) as caller:
        sandbox.faults.add(MaxIds(25, status))
        first = await caller.get("albums", [ONE, *unrated(99)])
        assert (first.status, first.values, first.counts["upstream"]) == (200, {ONE: 1}, 100)
        assert sorted(sizes(sandbox)) == [*samples, 25, 25, 25, 25, 50, 50, 100]
        before = len(sizes(sandbox))
        await caller.get("albums", unrated(100, start=1000))
        assert sizes(sandbox)[before:] == [25, 25, 25, 25]


@pytest.mark.parametrize("status", [400, 504])
async def test_a_learnt_size_is_remembered_for_a_minute(sandbox, status):
    async with gateway_on(sandbox, upstream__attempts=1) as caller:
        limit = sandbox.faults.add(MaxIds(50, status))
        await caller.get("albums", unrated(100))
        limit.release()
        sandbox.faults.clear()
        sandbox.calls.clear()
        caller.clock.shift += 59
        await caller.get("albums", unrated(100, start=1000))
        caller.clock.shift += 2
        await caller.get("albums", unrated(100, start=2000))
        assert sizes(sandbox) == [50, 50, 100]


@pytest.mark.parametrize("status", [400, 413, 504])
async def test_one_poisonous_id_among_100_fails_alone_and_shrinks_nothing(sandbox, status):
    async with gateway_on(sandbox, upstream__attempts=1) as caller:
        poison = UNRATED + 42
        sandbox.faults.add(MaxIds(1, status), where=Where(id=str(poison)))
        sandbox.faults.add(CannedReply(status), where=Where(id=str(poison)))
        lenient = await caller.get("albums", [*unrated(99), ONE], headers=LENIENT)
        assert (lenient.status, lenient.values, lenient.counts["upstream"]) == (200, {ONE: 1}, 99)
        assert [error["meta"]["id"] for error in lenient.json["errors"]] == [str(poison)]
        assert lenient.json["errors"][0]["status"] == str(status)
        assert sandbox.calls.total <= 15
        sandbox.calls.clear()
        await caller.get("albums", unrated(100, start=1000))
        assert sizes(sandbox) == [100]


@pytest.mark.parametrize(("count", "calls"), [(100, 1 + 32), (1000, 10 + 32), (10_000, 2 * 100)])
async def test_splitting_has_an_end(sandbox, count, calls):
    async with gateway_on(sandbox, upstream__max_concurrency=8) as caller:
        sandbox.faults.add(MaxIds(0))
        reply = await caller.ask("POST", ROOT, body={"ids": {"albums": unrated(count)}})
        assert (reply.status, reply.code) == (400, "40005")
        assert sandbox.calls.total <= calls


async def test_a_limit_that_drops_fails_no_large_request(sandbox):
    async with gateway_on(sandbox, upstream__max_concurrency=8) as caller:
        sandbox.faults.add(MaxIds(20))
        reply = await caller.ask("POST", ROOT, body={"ids": {"albums": unrated(10_000)}})
        assert (reply.status, reply.counts["upstream"]) == (200, 10_000)
        assert sum(size > 20 for size in sizes(sandbox)) <= 8 + 4


async def test_an_error_that_blames_another_parameter_splits_nothing(sandbox):
    async with gateway_on(sandbox) as caller:
        sandbox.faults.add(CannedReply(400, "blames-l"))
        assert (await caller.get("albums", unrated(100))).status == 400
        assert sizes(sandbox) == [100]


# -- turns


async def test_10000_ids_never_starve_the_others(sandbox):
    async with gateway_on(sandbox, upstream__max_concurrency=8) as caller:
        hold = sandbox.hold()
        body = {"ids": {"albums": unrated(10_000)}}
        large = asyncio.ensure_future(caller.ask("POST", ROOT, body=body))
        await hold.reached(8)
        small = [asyncio.ensure_future(caller.one("albums", ONE, user=user)) for user in (ADA, BEN, CLEO)]
        await until(lambda: running("fetch") == 100 + 3)
        hold.release(3)
        await hold.reached(8)
        assert [sizes(sandbox)[n] for n in (8, 9, 10)] == [1, 1, 1]
        hold.release()
        assert [reply.status for reply in await asyncio.gather(*small)] == [200, 200, 404]
        assert (await large).status == 200
        assert sandbox.calls.max_in_flight == 8


async def test_waiting_requests_go_before_refreshes(sandbox):
    async with gateway_on(sandbox, upstream__max_concurrency=1, upstream__max_ids_per_call=1) as caller:
        await caller.get("albums", [ONE, TWO])
        caller.clock.shift += FRESH + 1
        hold = sandbox.hold()
        blocking = asyncio.ensure_future(caller.get("songs", [9]))
        await hold.reached()
        await caller.get("albums", [ONE, TWO])
        missing = asyncio.ensure_future(caller.get("albums", [THREE]))
        await until(lambda: running("fetch") == 4)
        hold.release(1)
        await blocking
        await hold.reached()
        assert sandbox.calls.last.ids == (THREE,)
        hold.release()
        assert (await missing).values == {THREE: -1}
        await sandbox.calls.until_ended(6)


async def test_the_limit_falls_on_a_429_and_rises_slowly(sandbox):
    async with gateway_on(sandbox, upstream__attempts=1) as caller:
        sandbox.faults.add(CannedReply(429), times=1)
        before = (await caller.metrics())["gateway_upstream_concurrency_limit"]
        await caller.get("albums", [1])
        throttled = await caller.metrics()
        for n in range(2, 42):
            await caller.get("albums", [n])
        after = (await caller.metrics())["gateway_upstream_concurrency_limit"]
        assert (before, throttled["gateway_upstream_concurrency_limit"]) == (64, 32)
        assert throttled["gateway_upstream_throttled_total"] == 1
        assert 32 <= after <= 34


# -- refreshes behind the answer


async def test_a_stale_entry_is_served_at_once_and_refreshed_once_for_all_callers(gateway, sandbox):
    await gateway.get("albums", [ONE, TWO])
    gateway.clock.shift += FRESH + 10
    sandbox.rate(ADA, Kind.ALBUMS, ONE, -1)
    hold = sandbox.hold()
    async with crowd(gateway, 50) as callers:
        replies = await asyncio.gather(*(callers.get("albums", [ONE, TWO]) for _ in range(50)))
    assert {reply.headers["Cache-Status"] for reply in replies} <= {
        f'ratings-gateway; hit; ttl={ttl}; detail="local=2 shared=0 upstream=0 stale=2"'
        for ttl in (-11, -12, -13)
    }
    assert {reply.values[ONE] for reply in replies} == {1}
    assert int(replies[0].headers["Age"]) >= FRESH + 10
    await hold.reached()
    hold.release()
    await sandbox.calls.until_ended(2)
    after = await gateway.get("albums", [ONE, TWO])
    assert (after.values, after.cache) == ({ONE: -1, TWO: 1}, "hit")
    assert "ttl=29" in after.headers["Cache-Status"] or "ttl=300" in after.headers["Cache-Status"]
    metrics = await gateway.metrics()
    assert metrics['gateway_background_refreshes_total{result="ok"}'] == 2
    assert metrics['gateway_cache_ids_total{result="stale",tier="local"}'] == 100
    assert sandbox.calls.total == 2


async def test_only_stale_ids_are_refreshed(sandbox):
    async with gateway_on(sandbox, upstream__top_up="false") as gateway:
        await gateway.get("albums", [ONE])
        gateway.clock.shift += FRESH - 10
        await gateway.get("albums", [TWO])
        gateway.clock.shift += 20
        reply = await gateway.get("albums", [ONE, TWO])
        await sandbox.calls.until_ended(3)
        assert (reply.cache, reply.counts["local"], reply.counts["stale"]) == ("hit", 2, 1)
        assert asked(sandbox)[2:] == [[ONE]]


async def test_a_refresh_that_fails_is_counted_and_fails_no_answer(sandbox):
    async with gateway_on(sandbox, upstream__attempts=1) as caller:
        await caller.get("albums", [ONE])
        caller.clock.shift += FRESH + 1
        sandbox.faults.add(CannedReply(500))
        for calls in (2, 3):
            assert (await caller.get("albums", [ONE])).values == {ONE: 1}
            await sandbox.calls.until_ended(calls)
            await until(lambda: not running("refresh"))
        metrics = await caller.metrics()
        assert metrics['gateway_background_refreshes_total{result="error"}'] == 2


async def test_a_refresh_and_a_miss_of_one_request_are_one_call(gateway, sandbox):
    await gateway.get("albums", [ONE])
    gateway.clock.shift += FRESH + 1
    sandbox.rate(ADA, Kind.ALBUMS, ONE, -1)
    reply = await gateway.get("albums", [ONE, TWO])
    assert (reply.values, reply.cache) == ({ONE: 1, TWO: 1}, "fwd=partial; stored")
    assert (reply.counts["local"], reply.counts["stale"], reply.counts["upstream"]) == (1, 1, 1)
    assert asked(sandbox) == [[ONE], sorted([ONE, TWO])]
    assert (await gateway.get("albums", [ONE])).values == {ONE: -1}


async def test_a_request_that_needs_a_new_answer_joins_the_refresh(gateway, sandbox):
    await gateway.get("albums", [ONE])
    gateway.clock.shift += FRESH + 1
    hold = sandbox.hold()
    await gateway.get("albums", [ONE])
    await hold.reached()
    waiting = asyncio.ensure_future(gateway.get("albums", [ONE], headers={"Cache-Control": "no-cache"}))
    await joined(gateway, 1)
    hold.release()
    assert (await waiting).values == {ONE: 1}
    assert sandbox.calls.total == 2


async def test_without_revalidation_a_stale_entry_is_asked_for(sandbox):
    async with gateway_on(sandbox, cache__stale_while_revalidate_seconds=0) as caller:
        await caller.get("albums", [ONE])
        caller.clock.shift += FRESH + 1
        assert (await caller.get("albums", [ONE])).cache == "fwd=miss; stored"
