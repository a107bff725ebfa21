"""The previous release and this one on one Redis: a rating written through either is read through both."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from gateway.model import Kind
from gateway.sandbox import ADA, CannedReply, Lag, Where
from tests.e2e.harness import Client
from tests.e2e.processes import client_of_process

PREVIOUS_RELEASE = "c3fbada"

pytestmark = [pytest.mark.redis_server, pytest.mark.commit(PREVIOUS_RELEASE)]

ID = "1138988512"
OTHERS = (ID, *range(1, 25))
VISIBLE_SECONDS = 0.5
"""The README says 0.1: when others serve a write; a busy machine gets more."""
LAG_SECONDS = 1.0
WRITES = Where(method="PUT")
DIRECTIONS = pytest.mark.parametrize(
    ("writing", "reading"), [("old", "new"), ("new", "old")], ids=["old writes", "new writes"]
)
QUERIES = ("", "&l=de")
"""The plain ratings, and those of a variant."""

Fleet = dict[str, Client]


@pytest.fixture(scope="module")
def previous_tree(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("previous")
    command = ["git", "archive", "--format=tar", PREVIOUS_RELEASE, "gateway", "config"]
    archive = subprocess.run(command, cwd=pytestconfig.rootpath, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
    return folder


@pytest.fixture
async def fleet(sandbox, redis, previous_tree) -> AsyncIterator[Fleet]:
    # A lookup that a busy machine delays past its timeout is a miss, which none of these tests is about.
    settings = {"cache__redis_url": redis.url, "cache__redis_timeout_ms": 1000}
    async with (
        client_of_process(sandbox, previous_tree, **settings) as old,
        client_of_process(sandbox, **settings) as new,
    ):
        yield {"old": old, "new": new}


async def eventually(holds: Callable[[], Awaitable[bool]], *, seconds: float = 10.0) -> None:
    """Ask again and again until `holds()`; fail after `seconds`."""
    async with asyncio.timeout(seconds):
        while not await holds():
            pass


async def test_the_old_gateway_runs_the_code_of_the_previous_release(fleet):
    statuses = {name: (await client.ask("GET", "/v1/me/library")).status for name, client in fleet.items()}
    assert statuses == {"old": 404, "new": 421}


@DIRECTIONS
@pytest.mark.parametrize("query", QUERIES)
async def test_ratings_that_one_fetched_the_other_serves_without_a_call(
    fleet, sandbox, writing, reading, query
):
    first = await fleet[writing].get("albums", OTHERS, query)

    async def answered_by_redis() -> bool:
        # Fills are stored after the answer; what is asked for with no-store is not kept in memory.
        reply = await fleet[reading].get("albums", OTHERS, query, headers={"Cache-Control": "no-store"})
        return bool(reply.counts["shared"] == len(OTHERS))

    await eventually(answered_by_redis)
    calls = sandbox.calls.total
    second = await fleet[reading].get("albums", OTHERS, query)
    assert (second.values, second.counts["shared"]) == (first.values, len(OTHERS))
    assert sandbox.calls.total == calls


@DIRECTIONS
async def test_a_write_is_read_through_both_while_apple_still_reports_the_old_rating(
    fleet, sandbox, writing, reading
):
    loop = asyncio.get_running_loop()
    sandbox.faults.add(Lag(LAG_SECONDS), where=WRITES)
    for client in fleet.values():
        for query in QUERIES:
            assert (await client.get("albums", OTHERS, query)).values[ID] == 1

    assert (await fleet[writing].rate("albums", ID, -1)).status == 200
    answered = loop.time()
    while loop.time() < answered + LAG_SECONDS + 0.2:
        for query in QUERIES:
            assert (await fleet[writing].get("albums", [ID], query)).values == {ID: -1}
            asked = loop.time()
            values = (await fleet[reading].get("albums", OTHERS, query)).values
            assert values[ID] == -1 or asked < answered + VISIBLE_SECONDS


@DIRECTIONS
async def test_a_fetch_held_up_across_a_write_through_the_other_does_not_undo_it(
    fleet, sandbox, writing, reading
):
    hold = sandbox.hold(Where(method="GET"), at="answer", times=1)
    fetch = asyncio.ensure_future(fleet[reading].get("albums", [ID]))
    await hold.reached()
    assert (await fleet[writing].rate("albums", ID, -1)).status == 200
    hold.release()
    await fetch
    for client in fleet.values():
        for query in QUERIES:
            assert (await client.get("albums", [ID], query)).values == {ID: -1}


async def test_a_write_refused_through_the_new_one_leaves_unknown_what_the_old_one_left_unknown(
    fleet, sandbox
):
    sandbox.faults.add(Lag(60), where=WRITES)
    sandbox.faults.add(CannedReply(500, applied=True), where=WRITES, times=1)
    assert (await fleet["old"].rate("albums", ID, -1)).status == 500
    sandbox.faults.add(CannedReply(400), where=WRITES)
    assert (await fleet["new"].rate("albums", ID, 1)).status == 400
    for client in (*fleet.values(), *fleet.values()):
        reply = await client.get("albums", [ID])
        assert (reply.values, reply.counts["upstream"]) == ({ID: 1}, 1)


@DIRECTIONS
async def test_a_removed_rating_is_gone_through_both(fleet, writing, reading):
    for client in fleet.values():
        assert (await client.get("albums", [ID])).values == {ID: 1}
    assert (await fleet[writing].unrate("albums", ID)).status == 204
    assert (await fleet[writing].get("albums", [ID])).values == {}

    async def gone() -> bool:
        return not (await fleet[reading].get("albums", [ID])).values

    await eventually(gone, seconds=1.0)


@DIRECTIONS
async def test_a_write_on_a_catalog_id_makes_the_library_ask_again_through_the_other(fleet, writing, reading):
    assert (await fleet[reading].get("library-albums", ["l.sandbox1"])).values == {"l.sandbox1": 1}
    await fleet[writing].rate("albums", ID, -1)

    async def refetched() -> bool:
        reply = await fleet[reading].get("library-albums", ["l.sandbox1"])
        return bool(reply.values == {"l.sandbox1": -1})

    await eventually(refetched, seconds=1.0)


@DIRECTIONS
async def test_a_purge_reaches_the_other(fleet, sandbox, writing, reading):
    for client in fleet.values():
        for query in QUERIES:
            assert (await client.get("albums", [ID], query)).values == {ID: 1}
    sandbox.rate(ADA, Kind.ALBUMS, ID, -1)
    assert (await fleet[writing].ask("POST", "/-/purge")).json == {"purged": True}

    async def fetched_anew() -> bool:
        values = [(await fleet[reading].get("albums", [ID], query)).values for query in QUERIES]
        return values == [{ID: -1}] * len(QUERIES)

    await eventually(fetched_anew, seconds=1.0)
