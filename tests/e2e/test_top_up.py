"""`upstream.top_up`: the free seats of a call refresh ids that are cached and due."""

import asyncio

import pytest

from gateway.model import Kind
from gateway.sandbox import ADA, CannedReply, Misshape, Sandbox, Where
from tests.e2e.harness import Caller, gateway_on, stored, until
from tests.e2e.load import Load, Truth
from tests.redis_server import RedisServer

LIKED, DISLIKED, THIRD, OTHER = "1138988512", "475655712", "700000001", "5000000000"
DUE = [LIKED, DISLIKED, THIRD]
NEARLY_FRESH = 240
"""Seconds after which less than a quarter of 300 s of freshness is left."""


def asked(sandbox: Sandbox) -> list[list[str]]:
    return [sorted(call.ids) for call in sandbox.calls]


async def warmed(gateway: Caller, seconds: float = NEARLY_FRESH) -> None:
    """Let three ids be cached, and so many seconds pass."""
    await gateway.get("albums", DUE)
    gateway.clock.shift += seconds


@pytest.mark.parametrize("seconds", [NEARLY_FRESH, 400, 5000])
async def test_a_call_with_free_seats_refreshes_cached_ids_that_are_due(gateway, sandbox, seconds):
    await warmed(gateway, seconds)
    reply = await gateway.get("albums", [OTHER])
    assert asked(sandbox)[1:] == [sorted([*DUE, OTHER])]
    assert reply.counts == {"local": 0, "shared": 0, "upstream": 1, "stale": 0}
    gateway.clock.shift += 200
    assert (await gateway.get("albums", DUE)).cache == "hit"
    assert sandbox.calls.total == 2


async def test_rides_and_their_use_are_counted(gateway, sandbox):
    await warmed(gateway)
    await gateway.get("albums", [OTHER])
    for _ in range(2):
        await gateway.get("albums", [LIKED, DISLIKED])
    assert gateway.sample("gateway_upstream_top_up_ids_total") == 3
    assert gateway.sample("gateway_upstream_top_up_used_total") == 2


async def test_explain_shows_rides_until_the_id_is_asked_for(gateway):
    await warmed(gateway)
    await gateway.get("albums", [OTHER])

    async def rode(id_: str) -> bool:
        found: bool = (await gateway.ask("GET", f"/-/explain?type=albums&id={id_}")).json["top_up"]
        return found

    assert [await rode(LIKED), await rode(OTHER)] == [True, False]
    await gateway.get("albums", [LIKED])
    assert not await rode(LIKED)


async def test_ids_that_are_not_due_do_not_ride(gateway, sandbox):
    await warmed(gateway, 200)
    await gateway.get("albums", [OTHER])
    assert asked(sandbox)[1:] == [[OTHER]]


async def test_it_can_be_turned_off(sandbox):
    async with gateway_on(sandbox, upstream__top_up="false") as gateway:
        await warmed(gateway)
        await gateway.get("albums", [OTHER])
        assert asked(sandbox)[1:] == [[OTHER]]


async def test_no_store_takes_nothing_along(gateway, sandbox):
    await warmed(gateway)
    await gateway.get("albums", [OTHER], headers={"Cache-Control": "no-store"})
    assert asked(sandbox)[1:] == [[OTHER]]


async def test_variants_and_types_do_not_mix(gateway, sandbox):
    await warmed(gateway)
    await gateway.get("albums", [OTHER], "&l=de")
    await gateway.get("songs", [OTHER])
    assert asked(sandbox)[1:] == [[OTHER], [OTHER]]


async def test_the_seats_of_a_call_are_bounded(sandbox):
    async with gateway_on(sandbox, upstream__max_ids_per_call=3) as gateway:
        await warmed(gateway)
        await gateway.get("albums", [OTHER])
        assert len(asked(sandbox)[1]) == 3


async def test_a_background_refresh_takes_all_that_is_due_along(gateway, sandbox):
    await warmed(gateway, 400)
    assert (await gateway.get("albums", [LIKED])).counts["stale"] == 1
    await until(lambda: sandbox.calls.total == 2)
    assert asked(sandbox)[1:] == [sorted(DUE)]


async def test_a_rating_within_its_hold_does_not_ride(sandbox):
    async with gateway_on(sandbox, cache__fresh_seconds=4, cache__write_hold_seconds=60) as gateway:
        await gateway.get("albums", DUE)
        await gateway.rate("albums", LIKED, -1)
        gateway.clock.shift += 3.5
        await gateway.get("albums", [OTHER])
        assert asked(sandbox)[-1] == sorted([DISLIKED, THIRD, OTHER])


async def test_a_write_during_the_call_discards_what_rode_along(gateway, sandbox):
    await warmed(gateway)
    hold = sandbox.hold()
    reading = asyncio.create_task(gateway.get("albums", [OTHER]))
    await hold.reached()
    await gateway.rate("albums", LIKED, -1)
    sandbox.rate(ADA, Kind.ALBUMS, DISLIKED, 1)
    hold.release()
    await reading
    assert (await gateway.get("albums", [LIKED])).values == {LIKED: -1}
    assert gateway.sample("gateway_upstream_top_up_used_total") == 0


async def test_an_id_that_is_asked_for_while_it_rides_is_answered_by_that_call(gateway, sandbox):
    await warmed(gateway, 5000)
    hold = sandbox.hold()
    first = asyncio.create_task(gateway.get("albums", [OTHER]))
    await hold.reached()
    second = asyncio.create_task(gateway.get("albums", [LIKED]))
    await until(lambda: gateway.sample("gateway_coalesced_ids_total") == 1)
    hold.release()
    await first
    assert (await second).values == {LIKED: 1}
    assert sandbox.calls.total == 2


FAILURES = [CannedReply(500), CannedReply(400), CannedReply(404, body="no-errors"), Misshape("no-data")]


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
async def test_a_call_that_fails_with_them_is_repeated_without_them(gateway, sandbox, failure):
    await warmed(gateway)
    sandbox.faults.add(failure, where=Where(id=LIKED))
    assert (await gateway.get("albums", [OTHER])).status == 200
    assert asked(sandbox)[1:] == [sorted([*DUE, OTHER]), [OTHER]]
    assert gateway.sample("gateway_upstream_retries_total", reason="500") == 0


async def test_ids_of_a_call_that_failed_ride_again_only_after_they_were_asked_for(gateway, sandbox):
    await warmed(gateway)
    fault = sandbox.faults.add(CannedReply(500), where=Where(id=LIKED))
    await gateway.get("albums", [OTHER])
    sandbox.faults.remove(fault.id)
    await gateway.get("albums", ["5000000001"])
    assert asked(sandbox)[-1] == ["5000000001"]
    await gateway.get("albums", DUE)
    await gateway.get("albums", ["5000000002"])
    assert asked(sandbox)[-1] == sorted([*DUE, "5000000002"])


async def test_an_id_that_fails_and_is_asked_for_while_it_rides_is_asked_for_again(gateway, sandbox):
    await warmed(gateway, 5000)
    sandbox.faults.add(CannedReply(500), times=1)
    hold = sandbox.hold(at="answer")
    first = asyncio.create_task(gateway.get("albums", [OTHER]))
    await hold.reached()
    second = asyncio.create_task(gateway.get("albums", [LIKED]))
    await until(lambda: gateway.sample("gateway_coalesced_ids_total") == 1)
    hold.release()
    await first
    assert (await second).values == {LIKED: 1}
    assert asked(sandbox)[-1] == sorted([LIKED, OTHER])


async def test_a_call_that_is_throttled_is_repeated_without_them_and_holds_nothing_against_them(
    gateway, sandbox
):
    await warmed(gateway)
    sandbox.faults.add(CannedReply(429), times=1)
    assert (await gateway.get("albums", [OTHER])).status == 200
    assert asked(sandbox)[1:] == [sorted([*DUE, OTHER]), [OTHER]]
    await gateway.get("albums", ["5000000001"])
    assert asked(sandbox)[-1] == sorted([*DUE, "5000000001"])


@pytest.mark.redis_server
async def test_ids_that_another_gateway_refreshed_do_not_ride(sandbox):
    with RedisServer() as redis:
        settings = {
            "cache__redis_url": redis.url,
            "cache__redis_timeout_ms": 1000,
            "cache__fresh_seconds": 4,
        }
        async with gateway_on(sandbox, **settings) as one, gateway_on(sandbox, **settings) as two:
            await one.get("albums", DUE)
            await stored()
            assert (await two.get("albums", DUE)).counts["shared"] == 3
            one.clock.shift += 3.5
            await two.get("albums", DUE, headers={"Cache-Control": "no-cache"})
            await stored()
            await one.get("albums", [OTHER])
            assert asked(sandbox)[-1] == [OTHER]


@pytest.mark.redis_server
async def test_every_answer_is_right_under_load_with_writes_a_bad_id_and_429s(sandbox):
    truth, bad = Truth(sandbox), "201"
    sandbox.faults.poison(bad)
    sandbox.faults.add(CannedReply(429), fraction=0.2, where=Where(method="GET"))
    with RedisServer() as redis:
        settings = {
            "cache__redis_url": redis.url,
            "cache__redis_timeout_ms": 1000,
            "cache__fresh_seconds": 1,
            "cache__write_hold_seconds": 1,
        }
        async with gateway_on(sandbox, **settings) as one, gateway_on(sandbox, **settings) as two:
            load = Load(one, truth)
            async with load.running():
                for _ in range(30):
                    answers = await asyncio.gather(
                        two.get("albums", range(1, 26)),
                        one.get("albums", [bad, 1], headers={"Prefer": "handling=lenient"}),
                        asyncio.sleep(0.1),
                    )
                    assert [answer.status for answer in answers[:2]] == [200, 200]
            assert (load.wrong, load.failed) == ([], [])
            assert load.writes > 0
            assert one.sample("gateway_upstream_top_up_used_total") > 0
