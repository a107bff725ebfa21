"""Writes through one gateway: relayed, finished, and read back at once."""

import asyncio

import pytest

from gateway.model import Kind
from gateway.sandbox import ADA, CannedReply, Lag, Reset, Where
from tests.e2e.harness import ROOT, gateway_on, task_names, until

WRITES = Where(method="PUT")
ONE = "1138988512"
KINDS = {
    "albums": "1",
    "songs": "1",
    "music-videos": "1",
    "playlists": "pl.new",
    "stations": "ra.1",
    "library-albums": "l.new",
    "library-songs": "i.new",
    "library-playlists": "p.new",
    "library-music-videos": "i.new",
}


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_is_rated_and_unrated(gateway, sandbox, kind):
    rated = await gateway.rate(kind, KINDS[kind], -1)
    assert (rated.status, rated.values, rated.cache) == (200, {KINDS[kind]: -1}, "fwd=method")
    assert sandbox.rating(ADA, Kind(kind), KINDS[kind]) == -1
    assert (await gateway.one(kind, KINDS[kind])).values == {KINDS[kind]: -1}
    gone = await gateway.unrate(kind, KINDS[kind])
    assert (gone.status, gone.body, gone.cache) == (204, b"", "fwd=method")
    assert sandbox.rating(ADA, Kind(kind), KINDS[kind]) is None
    assert (await gateway.one(kind, KINDS[kind])).status == 404


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"type": "album", "attributes": {"value": 1}}, "/type"),
        ({"type": "rating", "attributes": {"value": 2}}, "/attributes/value"),
        ({"type": "rating"}, "/attributes"),
        (b"{", ""),
    ],
)
async def test_a_bad_body_is_refused_and_pointed_into(gateway, sandbox, body, pointer):
    reply = await gateway.ask("PUT", f"{ROOT}/albums/1", body=body)
    error = reply.json["errors"][0]
    assert (reply.status, error["code"], error["source"]) == (400, "40006", {"pointer": pointer})
    assert sandbox.calls.total == 0


@pytest.mark.parametrize(
    "body", [{"type": "ratings", "attributes": {"value": 1}}, {"attributes": {"value": 1}}]
)
async def test_the_other_spellings_of_a_rating_are_accepted(gateway, body):
    assert (await gateway.ask("PUT", f"{ROOT}/albums/1", body=body)).status == 200


async def test_a_written_value_is_read_while_apple_still_reports_the_old_one(gateway, sandbox):
    sandbox.faults.add(Lag(60), where=WRITES)
    await gateway.get("albums", [ONE])
    await gateway.rate("albums", ONE, -1)
    for headers in ({}, {"Cache-Control": "no-cache"}, {"Cache-Control": "max-age=0"}):
        assert (await gateway.get("albums", [ONE], headers=headers)).values == {ONE: -1}
    other = await gateway.ask("GET", f"{ROOT}/albums?ids={ONE}&platform=web")
    assert other.values == {ONE: -1}


@pytest.mark.parametrize("variant", ["include=content", f"include=content,{'x' * 300}"])
async def test_the_hold_is_laid_over_every_variant(gateway, sandbox, variant):
    sandbox.faults.add(Lag(60), where=WRITES)
    before = await gateway.get("albums", [ONE], f"&{variant}")
    await gateway.rate("albums", ONE, -1)
    after = await gateway.get("albums", [ONE], f"&{variant}")
    assert (before.values, after.values) == ({ONE: 1}, {ONE: -1})
    assert after.json["data"][0]["relationships"] == before.json["data"][0]["relationships"]


async def test_a_deletion_is_read_while_apple_still_reports_the_rating(gateway, sandbox):
    sandbox.faults.add(Lag(60), where=Where(method="DELETE"))
    await gateway.unrate("albums", ONE)
    assert (await gateway.one("albums", ONE)).status == 404
    assert (await gateway.get("albums", [ONE], "&include=content")).values == {}


async def test_a_fetch_held_up_across_a_write_does_not_undo_it(gateway, sandbox):
    hold = sandbox.hold(Where(method="GET"), at="answer", times=1)
    early = asyncio.ensure_future(gateway.get("albums", [ONE]))
    await hold.reached()
    await gateway.rate("albums", ONE, -1)
    hold.release()
    await early
    assert (await gateway.get("albums", [ONE])).values == {ONE: -1}
    gateway.clock.shift += 11
    assert (await gateway.get("albums", [ONE])).values == {ONE: -1}


async def test_a_reader_after_a_write_does_not_get_a_fetch_from_before_it(gateway, sandbox):
    sandbox.faults.add(CannedReply(500, applied=True), where=WRITES)
    hold = sandbox.hold(Where(method="GET"), at="answer", times=1)
    early = asyncio.ensure_future(gateway.get("albums", [ONE]))
    await hold.reached()
    failed = await gateway.rate("albums", ONE, -1)
    late = await gateway.get("albums", [ONE])
    hold.release()
    assert (failed.status, late.values) == (500, {ONE: -1})
    assert (await early).values == {ONE: 1}


@pytest.mark.parametrize(("effect", "sent"), [(CannedReply(500, applied=True), 1), (Reset(applied=True), 2)])
async def test_after_a_write_of_unknown_outcome_nothing_old_is_served(gateway, sandbox, effect, sent):
    sandbox.faults.add(effect, where=WRITES)
    await gateway.get("albums", [ONE])
    assert (await gateway.rate("albums", ONE, -1)).status in (500, 502)
    assert (await gateway.get("albums", [ONE])).values == {ONE: -1}
    assert sum(call.method == "PUT" for call in sandbox.calls) == sent


async def test_a_write_that_apple_refuses_changes_nothing(gateway, sandbox):
    sandbox.faults.add(CannedReply(400), where=WRITES)
    await gateway.get("albums", [ONE])
    assert (await gateway.rate("albums", ONE, -1)).status == 400
    reply = await gateway.get("albums", [ONE])
    assert (reply.values, reply.cache) == ({ONE: 1}, "fwd=miss; stored")


async def test_after_a_write_whose_repeat_apple_refuses_nothing_old_is_stored(gateway, sandbox):
    await gateway.get("albums", [ONE])
    sandbox.faults.add(Lag(60), where=WRITES)
    sandbox.faults.add(Reset(applied=True, kept=True), where=WRITES)
    sandbox.faults.add(CannedReply(400), where=WRITES)  # strikes only the repeat
    assert (await gateway.rate("albums", ONE, -1)).status == 400
    assert sum(call.method == "PUT" for call in sandbox.calls) == 2
    reply = await gateway.get("albums", [ONE])
    assert (reply.values, reply.cache) == ({ONE: 1}, "fwd=miss")


@pytest.mark.parametrize("status", [400, 404])
async def test_a_refused_write_after_one_of_unknown_outcome_stores_nothing_old(gateway, sandbox, status):
    sandbox.faults.add(Lag(60), where=WRITES)
    sandbox.faults.add(CannedReply(500, applied=True), where=WRITES, times=1)
    assert (await gateway.rate("albums", ONE, -1)).status == 500
    sandbox.faults.add(CannedReply(status), where=WRITES)
    assert (await gateway.rate("albums", ONE, 1)).status == status
    reply = await gateway.get("albums", [ONE])
    assert (reply.values, reply.cache) == ({ONE: 1}, "fwd=miss")


async def test_a_write_that_apple_throttles_is_repeated(gateway, sandbox):
    sandbox.faults.add(CannedReply(429), where=WRITES, times=1)
    assert (await gateway.rate("albums", ONE, -1)).status == 200
    assert sum(call.method == "PUT" for call in sandbox.calls) == 2


async def test_a_write_is_finished_though_its_caller_leaves(gateway, sandbox):
    hold = sandbox.hold(WRITES)
    leaving = asyncio.ensure_future(gateway.rate("albums", ONE, -1))
    await hold.reached()
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    hold.release()
    await sandbox.calls.until_ended(1)
    assert (await gateway.get("albums", [ONE])).values == {ONE: -1}


async def test_a_write_is_finished_though_its_callers_time_is_up(gateway, sandbox):
    sandbox.faults.add(Lag(60), where=WRITES)
    hold = sandbox.hold(WRITES)
    late = await gateway.rate("albums", ONE, -1, headers={"X-Request-Timeout-Ms": "50"})
    hold.release()
    await sandbox.calls.until_ended(1)
    await until(lambda: "write" not in task_names())
    assert (late.status, late.code) == (504, "50400")
    assert (await gateway.get("albums", [ONE])).values == {ONE: -1}


async def test_after_writes_that_overlap_apple_is_asked(gateway, sandbox):
    hold = sandbox.hold(WRITES, at="answer", times=1)
    first = asyncio.ensure_future(gateway.rate("albums", ONE, -1))
    await hold.reached()
    await gateway.rate("albums", ONE, 1)
    hold.release()
    await first
    sandbox.rate(ADA, Kind.ALBUMS, ONE, -1)
    assert (await gateway.get("albums", [ONE])).values == {ONE: -1}


async def test_a_write_on_a_catalog_id_makes_the_library_ask_again(gateway, sandbox):
    assert (await gateway.get("library-albums", ["l.sandbox1", "l.sandboxown"])).values["l.sandbox1"] == 1
    await gateway.rate("albums", ONE, -1)
    reply = await gateway.get("library-albums", ["l.sandbox1", "l.sandboxown"])
    assert (reply.values, reply.cache) == ({"l.sandbox1": -1, "l.sandboxown": 1}, "fwd=miss; stored")


async def test_library_ratings_fetched_within_the_hold_are_fresh_no_longer_than_it(gateway, sandbox):
    sandbox.faults.add(Lag(9), where=WRITES)
    await gateway.rate("albums", ONE, -1)
    early = await gateway.get("library-albums", ["l.sandbox1"])
    gateway.clock.shift += 11
    sandbox.rate(ADA, Kind.LIBRARY_ALBUMS, "l.sandbox1", -1)
    late = await gateway.get("library-albums", ["l.sandbox1"])
    assert (early.values, late.values) == ({"l.sandbox1": 1}, {"l.sandbox1": -1})


async def test_if_apple_fails_the_library_is_served_stale(gateway, sandbox):
    await gateway.get("library-albums", ["l.sandbox1"])
    await gateway.rate("albums", ONE, -1)
    sandbox.faults.add(CannedReply(500))
    reply = await gateway.get("library-albums", ["l.sandbox1"])
    assert (reply.status, reply.cache) == (200, "fwd=stale; fwd-status=500")


async def test_a_purge_drops_cached_ratings(gateway, sandbox):
    await gateway.get("albums", [ONE, 5])
    await gateway.get("songs", [900000001])
    purged = await gateway.ask("POST", "/-/purge", body={"type": "albums", "ids": [ONE]})
    assert (purged.status, purged.json) == (200, {"purged": True})
    assert (await gateway.get("albums", [ONE, 5])).counts["local"] == 1
    await gateway.ask("POST", "/-/purge")
    assert (await gateway.get("songs", [900000001])).cache == "fwd=miss; stored"


async def test_explain_names_the_source_of_an_answer(gateway):
    path = f"/-/explain?type=albums&id={ONE}"
    before = (await gateway.ask("GET", path)).json
    await gateway.get("albums", [ONE])
    after = (await gateway.ask("GET", path)).json
    await gateway.rate("albums", ONE, -1)
    written = (await gateway.ask("GET", path)).json
    assert (before["source"], after["source"]) == ("upstream", "local")
    assert written["hold"]["rating"] == -1
    assert 9 < written["hold"]["for_seconds"] <= 10
    assert after["entry"]["state"] == "fresh"


async def test_a_small_freshness_does_not_end_a_hold(sandbox):
    sandbox.faults.add(Lag(60), where=WRITES)
    async with gateway_on(sandbox, cache__fresh_seconds=1, cache__stale_while_revalidate_seconds=0) as caller:
        await caller.rate("albums", ONE, -1)
        caller.clock.shift += 5
        assert (await caller.get("albums", [ONE])).values == {ONE: -1}
