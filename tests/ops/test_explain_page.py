"""The page that explains one id, from the answers of running gateways."""

import pytest

from gateway.ops.explain_page import answer_page
from gateway.sandbox import ADA, BEN, Sandbox, Where
from gateway.sandbox import CannedReply as Failing
from tests.e2e.harness import gateway_on
from tests.ops.html import Document

ROOT = "/-/explain?type=albums&id="
PATH = f"{ROOT}1138988512"


async def explained(caller):
    answer = await caller.ask("GET", PATH)
    return Document(answer_page(answer.json, asks_ops_token=False)).text


async def test_an_id_that_is_not_cached_comes_from_apple():
    async with Sandbox() as sandbox, gateway_on(sandbox) as caller:
        text = await explained(caller)
        assert "Nothing usable is cached: Apple is asked" in text
        assert "Comes fromApple" in text


async def test_an_id_that_was_read_comes_from_this_process():
    async with Sandbox() as sandbox, gateway_on(sandbox) as caller:
        await caller.one("albums", 1138988512)
        text = await explained(caller)
        assert "Comes fromthis process" in text
        assert "Rating1 (liked)" in text
        assert "Statefresh: served as a hit" in text


async def test_a_fresh_entry_is_also_served_if_apple_fails():
    async with Sandbox() as sandbox, gateway_on(sandbox) as caller:
        await caller.one("albums", 1138988512)
        text = await explained(caller)
        assert "If Apple failsThe same entry is served, until cache.stale_if_error_seconds" in text


async def test_a_written_value_is_shown_as_held():
    async with Sandbox() as sandbox, gateway_on(sandbox) as caller:
        await caller.rate("albums", 1138988512, -1)
        text = await explained(caller)
        assert "Written value held-1 (disliked)" in text
        assert "Known for0 s" in text


async def test_a_stale_entry_shows_since_when():
    async with Sandbox() as sandbox, gateway_on(sandbox) as caller:
        await caller.one("albums", 1138988512)
        caller.clock.shift += 400
        text = await explained(caller)
        assert "Statestale: served at once and refreshed in the background" in text
        assert "Freshuntil 1 min 40 s ago" in text


async def test_an_old_entry_is_served_only_if_apple_fails():
    async with Sandbox() as sandbox, gateway_on(sandbox) as caller:
        await caller.one("albums", 1138988512)
        caller.clock.shift += 1000
        answer = (await caller.ask("GET", PATH)).json
        assert (answer["source"], answer["entry"], answer["stale"]["rating"]) == ("upstream", None, 1)
        assert "it is served only if Apple fails" in answer["why"]


async def test_while_the_breaker_is_open_no_id_comes_from_apple():
    async with Sandbox() as sandbox, gateway_on(sandbox, upstream__breaker_min_calls=1) as caller:
        await caller.one("albums", 1138988512)
        caller.clock.shift += 1000
        sandbox.faults.add(Failing(500))
        await caller.one("albums", 5)
        stale, missing = [(await caller.ask("GET", f"{ROOT}{id_}")).json for id_ in (1138988512, 5)]
        assert (stale["source"], missing["source"]) == ("local", "upstream")
        assert "the stale entry is served" in stale["why"]
        assert "the answer is 503" in missing["why"]


async def test_an_id_that_apple_fails_for_is_answered_without_a_call():
    async with Sandbox() as sandbox, gateway_on(sandbox) as caller:
        await caller.one("albums", 1138988512)
        caller.clock.shift += 1000
        for id_ in (1138988512, 5):
            sandbox.faults.poison(str(id_))
        await caller.get("albums", [1138988512, 5, 6])
        calls = sandbox.calls.total
        stale, missing = [(await caller.ask("GET", f"{ROOT}{id_}")).json for id_ in (1138988512, 5)]
        await caller.get("albums", [1138988512, 5])
        assert sandbox.calls.total == calls
        assert (stale["source"], missing["source"]) == ("local", "upstream")
        assert "Apple failed for this id" in stale["why"]
        assert "the stale entry is served" in stale["why"]
        assert "the answer is 500" in missing["why"]


async def test_an_id_that_apple_refuses_has_no_stale_entry():
    async with Sandbox() as sandbox, gateway_on(sandbox) as caller:
        await caller.one("albums", 1138988512)
        caller.clock.shift += 1000
        sandbox.faults.poison("1138988512", status=400)
        await caller.get("albums", [1138988512, 6])
        answer = (await caller.ask("GET", PATH)).json
        assert (answer["source"], answer["stale"]) == ("upstream", None)
        assert "the answer is 400" in answer["why"]


@pytest.mark.parametrize("status", [401, 403])
async def test_a_user_that_apple_refuses_is_answered_without_a_call(status):
    async with Sandbox() as sandbox, gateway_on(sandbox) as caller:
        sandbox.faults.add(Failing(status), where=Where(user=ADA))
        await caller.one("albums", 5)
        answer = (await caller.ask("GET", f"{ROOT}5")).json
        assert answer["quarantined"]
        assert answer["isolated"] == []
        assert "Apple refused this user token recently" in answer["why"]
        assert f"the answer is {status}" in answer["why"]
        text = Document(answer_page(answer, asks_ops_token=False)).text
        assert "Calls of this user stoppedyes: Apple refused the user token" in text


async def test_a_user_that_apple_fails_for_is_answered_without_a_call():
    async with Sandbox() as sandbox, gateway_on(sandbox) as caller:
        sandbox.faults.add(Failing(500), where=Where(user=ADA))
        for id_ in (5, 6, 7):
            await caller.one("albums", id_ + 100, user=BEN)
            await caller.one("albums", id_)
        calls = sandbox.calls.total
        answer = (await caller.ask("GET", f"{ROOT}8")).json
        assert (await caller.one("albums", 8)).status == 500
        assert sandbox.calls.total == calls
        text = Document(answer_page(answer, asks_ops_token=False)).text
        assert "Calls of this user stoppedreads and writes: Apple failed for this user alone" in text
        assert (answer["quarantined"], answer["isolated"]) == (False, ["reads", "writes"])
        assert "Apple failed for this user, not for others" in answer["why"]
        assert "the answer is 500" in answer["why"]


async def test_an_unconfirmed_write_is_mentioned():
    async with Sandbox() as sandbox, gateway_on(sandbox) as caller:
        sandbox.faults.add(Failing(500), where=Where(method="PUT"))
        await caller.rate("albums", 1138988512, -1)
        assert "A write is under way, or Apple did not confirm it" in await explained(caller)
