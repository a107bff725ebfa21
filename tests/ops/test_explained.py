"""What the gateway says of an id, in words."""

from gateway.ops.explained import answer_page
from gateway.sandbox import Sandbox
from tests.e2e.harness import gateway_on
from tests.ops.html import Document


async def explained(caller):
    answer = await caller.ask("GET", "/-/explain?type=albums&id=1138988512")
    return Document(answer_page(answer.json, asks_ops_token=False)).text


async def test_what_is_not_cached_comes_from_apple():
    async with Sandbox() as sandbox, gateway_on(sandbox) as caller:
        text = await explained(caller)
        assert "Nothing usable is cached: Apple is asked" in text
        assert "Comes fromApple" in text


async def test_what_was_read_comes_from_this_process():
    async with Sandbox() as sandbox, gateway_on(sandbox) as caller:
        await caller.one("albums", 1138988512)
        text = await explained(caller)
        assert "Comes fromthis process" in text
        assert "Rating1 (liked)" in text
        assert "Statefresh: served as a hit" in text


async def test_what_was_written_is_held():
    async with Sandbox() as sandbox, gateway_on(sandbox) as caller:
        await caller.rate("albums", 1138988512, -1)
        assert "Written value held-1 (disliked)" in await explained(caller)


async def test_what_is_stale_says_how_long():
    async with Sandbox() as sandbox, gateway_on(sandbox) as caller:
        await caller.one("albums", 1138988512)
        caller.clock.shift += 400
        text = await explained(caller)
        assert "Statestale: served at once and refreshed behind the answer" in text
        assert "Freshuntil 1 min 40 s ago" in text
