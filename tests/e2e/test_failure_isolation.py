"""One bad id, refused account or recycled connection affects no other caller; an outage is recognised.

Scenarios of several calls and users; the effects of each kind of failure are a row in `test_apple_failures`.
"""

import asyncio

import pytest

from gateway.sandbox import ADA, BEN, CLEO, CannedReply, Latency, Reset, Skew, Strangers, Truncate, Where
from tests.e2e.clock_jumps import play, scene
from tests.e2e.harness import gateway_on

ONE = "1138988512"
UNRATED = 5_000_000_000
FRESH = 300
LENIENT = {"Prefer": "handling=lenient"}
BAD = "666"


def unrated(count, start=0):
    return [UNRATED + start + number for number in range(count)]


def isolated(caller, what):
    return caller.sample("gateway_upstream_isolated_total", what=what)


def breaker(caller):
    return caller.sample("gateway_breaker_state", target="apple")


# -- ids


@pytest.mark.parametrize("status", [400, 500])
def test_an_id_that_apple_fails_on_fails_alone_and_is_answered_from_memory(status):
    async def story():
        async with scene() as (caller, sandbox):
            sandbox.faults.poison(BAD, status=status)
            ids = [ONE, BAD, *unrated(23)]
            first = await caller.get("albums", ids, headers=LENIENT)
            calls = sandbox.calls.total
            again = await caller.get("albums", [BAD, *unrated(3)], headers=LENIENT)
            remembered = sandbox.calls.total
            one = await caller.one("albums", BAD)
            sandbox.faults.clear()
            caller.clock.shift += 11
            healed = await caller.get("albums", [BAD])
            return first, calls, again, remembered, one, healed, isolated(caller, "id"), breaker(caller)

    first, calls, again, remembered, one, healed, counted, state = play(story())
    assert (first.values, [error["meta"]["id"] for error in first.json["errors"]]) == ({ONE: 1}, [BAD])
    assert [error["meta"]["id"] for error in again.json["errors"]] == [BAD]
    assert calls <= 5 + 10
    assert remembered == calls
    assert (one.status, "received-status" in one.headers["Proxy-Status"]) == (status, False)
    assert (healed.status, healed.json) == (200, {"data": []})
    assert (counted, state) == (1, 0)


@pytest.mark.parametrize("effect", [CannedReply(200, "html"), Truncate(), Reset(), Strangers(("9",))])
def test_an_id_for_which_no_answer_is_sound_fails_alone_too(effect):
    async def story():
        async with scene() as (caller, sandbox):
            sandbox.faults.add(effect, where=Where(id=BAD))
            first = await caller.get("albums", [ONE, BAD, *unrated(3)], headers=LENIENT)
            calls = sandbox.calls.total
            again = await caller.get("albums", [ONE, BAD], headers=LENIENT)
            remembered = sandbox.calls.total == calls
            return first, again, remembered, isolated(caller, "id"), breaker(caller)

    first, again, remembered, counted, state = play(story())
    for reply in (first, again):
        assert (reply.values, [error["meta"]["id"] for error in reply.json["errors"]]) == ({ONE: 1}, [BAD])
    assert (remembered, counted, state) == (True, 1, 0)


@pytest.mark.parametrize("bad_users", [6, 10])
def test_an_id_that_most_users_ask_for_fails_alone_and_opens_nothing(bad_users):
    async def story():
        async with scene() as (caller, sandbox):
            sandbox.faults.poison(BAD)
            users = [f"sandbox-user-{number}" for number in range(10)]
            for user in users:
                sandbox.add_user(user)
            rounds = []
            for number in range(8):
                asking = [
                    caller.get("albums", [*unrated(2, 10 * number), *[BAD] * (place < bad_users)],
                               user=user, headers=LENIENT)
                    for place, user in enumerate(users)
                ]  # fmt: skip
                rounds.append([reply.status for reply in await asyncio.gather(*asking)])
            return rounds, breaker(caller)

    rounds, state = play(story())
    assert rounds == [[200] * 10] * 8
    assert state == 0


@pytest.mark.parametrize("other", ["read", "write"])
@pytest.mark.parametrize("users", [(ADA,), (ADA, BEN)])
def test_an_id_that_cannot_be_rated_opens_nothing_though_few_users_ask(users, other):
    async def story():
        async with scene() as (caller, sandbox):
            sandbox.faults.add(CannedReply(500), where=Where(method="PUT", id=BAD))
            failed = []
            for number in range(30):
                for user in users:
                    failed.append((await caller.rate("albums", BAD, 1, user=user)).status)
                    caller.clock.shift += 0.1
                    if number % 5:
                        continue
                    if other == "read":
                        await caller.get("albums", unrated(1, number), user=user)
                    else:
                        await caller.rate("albums", str(UNRATED + number), 1, user=user)
            return set(failed), breaker(caller), isolated(caller, "user"), isolated(caller, "id") > 20

    assert play(story()) == ({500}, 0, 0, True)


@pytest.mark.parametrize("answered_first", [True, False])
def test_a_list_of_refused_ids_breaks_no_page_with_another(answered_first):
    async def story():
        async with scene() as (caller, sandbox):
            for bad in (BAD, "667", "668"):
                sandbox.faults.poison(bad, status=400)
            if answered_first:
                await caller.get("albums", unrated(5))
            await caller.get("albums", [BAD, "667"], headers=LENIENT)
            if not answered_first:
                await caller.get("albums", unrated(5))
            page = await caller.get("albums", [ONE, *unrated(20, 50), "668"], headers=LENIENT)
            return page.values, [error["meta"]["id"] for error in page.json["errors"]]

    assert play(story()) == ({ONE: 1}, ["668"])


@pytest.mark.parametrize("after_outage", [False, True])
def test_two_bad_ids_that_all_users_ask_for_fail_alone_and_open_nothing(after_outage):
    async def story():
        async with scene() as (caller, sandbox):
            users = [f"sandbox-user-{number}" for number in range(6)]
            for user in users:
                sandbox.add_user(user)
            page = [BAD, *unrated(98), "667"]

            async def read():
                reading = [caller.get("albums", page, user=user, headers=LENIENT) for user in users]
                replies = await asyncio.gather(*reading)
                return [{each["meta"]["id"] for each in reply.json.get("errors", ())} for reply in replies]

            outage = sandbox.faults.add(CannedReply(500)) if after_outage else None
            while outage is not None and breaker(caller) == 0:
                await read()
            for bad in (BAD, "667"):
                sandbox.faults.poison(bad)
            if outage is not None:
                sandbox.faults.remove(outage.id)
                caller.clock.shift += 5
                await read()
            return await read(), breaker(caller)

    assert play(story()) == ([{BAD, "667"}] * 6, 0)


# -- users


def test_an_account_that_always_fails_leaves_others_alone_and_costs_apple_little():
    async def story():
        async with scene() as scenery:
            caller, sandbox = scenery
            await caller.get("songs", [900], user=CLEO)
            caller.clock.shift += FRESH + 301
            sandbox.faults.add(CannedReply(500), where=Where(user=CLEO))
            others = set()
            for number in range(15):
                for user in (ADA, BEN):
                    others.add((await caller.get("albums", unrated(1, number), user=user)).status)
                await caller.get("albums", unrated(3, 100 * number), user=CLEO)
            before = sandbox.calls.total
            refused = await caller.get("albums", unrated(3, 9000), user=CLEO)
            stale = await caller.get("songs", [900], user=CLEO)
            after = sandbox.calls.total
            sandbox.faults.clear()
            caller.clock.shift += 10
            healed = await caller.get("albums", unrated(3), user=CLEO)
            return others, refused, stale, after - before, healed.status, breaker(caller), sandbox.calls.total

    others, refused, stale, cost, healed, state, total = play(story())
    assert others == {200}
    assert (refused.status, stale.status, stale.cache) == (500, 200, "fwd=stale")
    assert (cost, healed, state) == (0, 200, 0)
    assert total < 30 + 30


def test_a_user_isolated_for_three_bad_ids_is_answered_again_though_one_is_in_every_read():
    async def story():
        async with scene() as (caller, sandbox):
            for bad in (BAD, "667", "668"):
                sandbox.faults.poison(bad)
                await caller.one("albums", bad)
                await caller.get("albums", unrated(1, int(bad)), user=BEN)
            isolated_for = await caller.get("albums", [ONE])
            caller.clock.shift += 10
            first = await caller.get("albums", [ONE, BAD, *unrated(3)], headers=LENIENT)
            return isolated_for, first, isolated(caller, "user"), await caller.get("albums", [ONE])

    isolated_for, first, counted, healed = play(story())
    assert (isolated_for.status, counted >= 1) == (500, True)
    assert (first.status, first.values, healed.cache) == (200, {ONE: 1}, "hit")


def test_a_user_whose_writes_fail_while_others_are_carried_out_may_still_read():
    async def story():
        async with scene() as (caller, sandbox):
            sandbox.faults.add(CannedReply(500), where=Where(method="PUT", user=ADA))
            for number in range(3):
                await caller.rate("albums", str(UNRATED + number), 1)
                caller.clock.shift += 0.1
                await caller.rate("albums", ONE, 1, user=BEN)
            calls = sandbox.calls.total
            write = await caller.rate("albums", str(UNRATED), 1)
            return write.status, sandbox.calls.total - calls, await caller.get("albums", [ONE])

    status, cost, read = play(story())
    assert (status, cost) == (500, 0)
    assert (read.status, read.values) == (200, {ONE: 1})


def test_writes_that_fail_for_all_are_not_one_users_though_reads_are_answered():
    async def story():
        async with scene() as (caller, sandbox):
            sandbox.faults.add(CannedReply(500), where=Where(method="PUT"))
            for number in range(3):
                await caller.rate("albums", str(UNRATED + number), 1)
                caller.clock.shift += 0.1
                await caller.get("albums", unrated(1, number), user=BEN)
            return isolated(caller, "user"), (await caller.get("albums", [ONE])).status

    assert play(story()) == (0, 200)


def test_a_user_who_gets_401_is_refused_alone_and_the_developer_token_stays():
    async def story():
        async with scene(cache__stale_while_revalidate_seconds=0) as (caller, sandbox):
            await caller.get("albums", [ONE])
            caller.clock.shift += FRESH + 1
            sandbox.faults.add(CannedReply(401), where=Where(user=ADA))
            first = await caller.get("albums", [ONE])
            second = await caller.get("songs", [1])
            other = await caller.get("albums", [1], user=BEN)
            minted = caller.sample("gateway_developer_token_mints_total", reason="refused")
            return (
                first,
                second,
                other.status,
                minted,
                [call.path for call in sandbox.calls],
                isolated(caller, "user"),
            )

    first, second, other, minted, paths, counted = play(story())
    assert (first.status, first.code) == (401, "40100")
    assert "received-status=401" in first.headers["Proxy-Status"]
    assert (second.status, "received-status" in second.headers["Proxy-Status"]) == (401, False)
    assert (other, minted, counted) == (200, 0, 1)
    assert paths.count("/v1/test") == 1
    assert len(paths) == 4


def test_a_token_accepted_since_needs_no_test():
    async def story():
        async with scene() as (caller, sandbox):
            sandbox.faults.add(CannedReply(401), where=Where(user=ADA))
            hold = sandbox.hold(where=Where(user=ADA))
            refused = asyncio.ensure_future(caller.get("albums", [1]))
            await hold.reached()
            await asyncio.sleep(0.01)
            await caller.get("albums", [1], user=BEN)
            hold.release()
            return (await refused).status, [call.path for call in sandbox.calls if call.path == "/v1/test"]

    assert play(story()) == (401, [])


def test_a_developer_token_that_proves_refused_lifts_quarantines_from_401s():
    async def story():
        async with scene(upstream__quarantine_seconds=3600, cache__stale_while_revalidate_seconds=0) as (
            caller,
            sandbox,
        ):
            await caller.get("albums", [ONE])
            caller.clock.shift += FRESH + 1
            sandbox.faults.add(CannedReply(401), where=Where(user=ADA), times=1)
            quarantined = await caller.get("albums", [ONE])
            caller.clock.shift += 31
            sandbox.tokens.distrust(sandbox.credentials.key_id)
            assert (await caller.get("albums", [1], user=BEN)).status == 401
            return quarantined.status, await caller.get("albums", [ONE])

    status, lifted = play(story())
    assert status == 401
    assert (lifted.status, lifted.cache) == (200, "fwd=stale; fwd-status=401")


# -- connections


async def test_forgotten_connections_cost_no_answer_and_leave_the_breaker_closed(sandbox):
    async with gateway_on(sandbox) as caller:
        hold = sandbox.hold(times=48)
        first = [asyncio.ensure_future(caller.get("albums", unrated(1, n), f"&l={n}")) for n in range(48)]
        await hold.reached(48)
        hold.release()
        await asyncio.gather(*first)
        sandbox.faults.add(Reset(kept=True))
        second = await asyncio.gather(*(caller.get("songs", unrated(1, n), f"&l={n}") for n in range(48)))
        assert {reply.status for reply in second} == {200}
        assert isolated(caller, "connection") > 0
        assert breaker(caller) == 0


# -- the edge


def test_a_403_of_the_edge_names_no_user():
    async def story():
        async with scene(cache__stale_while_revalidate_seconds=0) as (caller, sandbox):
            await caller.get("albums", [ONE])
            caller.clock.shift += FRESH + 1
            sandbox.faults.add(CannedReply(403, "html"), times=2)
            stale = await caller.get("albums", [ONE])
            refused = await caller.get("albums", [1])
            return stale, refused, await caller.get("albums", [1]), sandbox.calls.total

    stale, refused, well, calls = play(story())
    assert (stale.status, stale.cache) == (200, "fwd=stale; fwd-status=403")
    assert (refused.status, refused.code) == (403, "40301")
    assert (well.status, calls) == (200, 4)


# -- throttling and clocks


def test_a_large_request_outlasts_a_short_throttling():
    async def story():
        async with scene() as scenery:
            caller, sandbox = scenery
            sandbox.faults.add(Latency(0.05))
            throttled = sandbox.faults.add(CannedReply(429))
            asking = asyncio.ensure_future(caller.get("albums", unrated(500)))
            began = scenery.now
            await asyncio.sleep(0.6)
            sandbox.faults.remove(throttled.id)
            return (await asking).status, scenery.now - began

    status, seconds = play(story())
    assert status == 200
    assert seconds < 4


@pytest.mark.parametrize("ahead", [-7200, -32, 32, 7200])
def test_a_clock_that_is_off_costs_at_most_one_more_call(ahead):
    async def story():
        async with scene() as (caller, sandbox):
            sandbox.faults.add(Skew(ahead))
            reply = await caller.get("albums", [ONE])
            skew = caller.sample("gateway_apple_clock_skew_seconds")
            return reply.status, skew, sandbox.calls.total

    status, skew, calls = play(story())
    assert status == 200
    assert abs(skew - ahead) <= 1
    assert calls <= 3


# -- outages


def test_an_outage_opens_the_breaker_though_an_account_and_an_id_fail_as_well():
    async def story():
        async with scene() as scenery:
            caller, sandbox = scenery
            sandbox.faults.poison(BAD)
            sandbox.faults.add(CannedReply(500), where=Where(user=CLEO))
            for number in range(3):
                await caller.get("albums", [BAD, *unrated(5, 10 * number)], headers=LENIENT)
                await caller.get("albums", unrated(1, number), user=CLEO)
            closed = breaker(caller)
            sandbox.faults.add(CannedReply(503))
            for number in range(20):
                await caller.get("songs", unrated(1, number), user=(ADA, BEN)[number % 2])
            opened = breaker(caller)
            sandbox.faults.clear()
            caller.clock.shift += 11
            healed = [await caller.get("songs", unrated(1, 500), user=user) for user in (ADA, BEN, CLEO)]
            return closed, opened, {reply.status for reply in healed}, breaker(caller)

    assert play(story()) == (0, 2, {200}, 0)


def test_a_second_outage_within_a_minute_opens_the_breaker_and_blames_no_id():
    async def story():
        async with scene(upstream__attempts=1) as (caller, sandbox):
            users, opened, calls = (ADA, BEN, CLEO), [], []
            for _ in range(2):
                calls.append(sandbox.calls.total)
                outage = sandbox.faults.add(CannedReply(503))
                for number in range(9):
                    await caller.get("albums", unrated(50), user=users[number % 3])
                opened.append(breaker(caller))
                calls.append(sandbox.calls.total)
                sandbox.faults.remove(outage.id)
                caller.clock.shift += 5
                for user in users:
                    await caller.get("albums", unrated(50, 100), user=user)
                    caller.clock.shift += 11
            healed = [(await caller.get("albums", unrated(50), user=user)).status for user in users]
            return opened, calls, healed, isolated(caller, "id")

    opened, calls, healed, blamed = play(story())
    assert (opened, healed, blamed) == ([2, 2], [200] * 3, 0)
    assert calls[3] - calls[2] == calls[1] - calls[0] <= 9 * 6


def test_an_account_that_fails_and_always_probes_first_keeps_the_breaker_open_for_no_one():
    async def story():
        async with scene(upstream__attempts=1) as (caller, sandbox):
            outage = sandbox.faults.add(CannedReply(503))
            for number in range(20):
                await caller.get("songs", unrated(1, number), user=(ADA, BEN)[number % 2])
            sandbox.faults.remove(outage.id)
            sandbox.faults.add(CannedReply(500), where=Where(user=CLEO))
            opened = breaker(caller)
            caller.clock.shift += 5
            probes = [await caller.get("songs", unrated(1), user=user) for user in (CLEO, CLEO, ADA, BEN)]
            return opened, [probe.status for probe in probes], breaker(caller)

    assert play(story()) == (2, [500, 503, 200, 200], 0)


def test_an_outage_costs_two_probes_a_period_however_many_users_ask():
    async def story():
        async with scene(upstream__attempts=1) as (caller, sandbox):
            sandbox.faults.add(CannedReply(503))
            for number in range(20):
                await caller.get("songs", unrated(1, number), user=(ADA, BEN)[number % 2])
            costs = []
            for _ in range(3):
                caller.clock.shift += 5
                before = sandbox.calls.total
                for user in (ADA, BEN, CLEO) * 2:
                    await caller.get("songs", unrated(1), user=user)
                costs.append(sandbox.calls.total - before)
            return costs

    assert play(story()) == [2, 2, 2]


def test_a_probe_that_asks_for_a_remembered_id_ends_whatever_comes_back():
    async def story():
        async with scene(upstream__attempts=1) as (caller, sandbox):
            sandbox.faults.poison(BAD)
            await caller.get("albums", [ONE, BAD], headers=LENIENT)
            outage = sandbox.faults.add(CannedReply(503))
            for number in range(30):
                await caller.get("songs", unrated(1, number), user=(ADA, BEN)[number % 2])
            opened = breaker(caller)
            sandbox.faults.remove(outage.id)
            caller.clock.shift += 12
            probe = await caller.get("albums", [BAD])
            after = await caller.get("albums", [5], user=BEN)
            return opened, probe.status, after.status, breaker(caller)

    assert play(story()) == (2, 500, 200, 0)
