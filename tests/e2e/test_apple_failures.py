"""The effects of each failure of Apple: one row of the table for each way in which a call can fail.

A row says what a caller gets who has nothing cached, and how many calls that costs; whether a stale rating is
served; what is kept from others (`upstream_isolated_total`); and whether such failures open the breaker.
Longer scenarios are in `test_failure_isolation` (attribution), `test_apple_protections` and
`test_load_while_apple_fails`, answers that the sandbox cannot give in `test_hostile_upstream`; writes have a
table of their own below.
"""

from collections.abc import Mapping
from typing import NamedTuple, get_args

import pytest

from gateway.errors import AVAILABILITY_CAUSES
from gateway.model import Kind
from gateway.sandbox import (
    ADA,
    BEN,
    CannedReply,
    Misshape,
    Next,
    Reset,
    Sandbox,
    Strangers,
    Truncate,
    Where,
)
from gateway.sandbox.faults import EVERYWHERE, AnyEffect, Shape
from tests.e2e.clock_jumps import play, scene
from tests.e2e.harness import ROOT, Caller, bug_logged

ONE, TWO, BAD = "1138988512", "475655712", "5"
"""Rated, rated, unrated."""
FRESH = 300
ASKED_AGAIN = 31
"""Seconds after which nothing answers from memory of a failure, and the breaker lets a call through."""
NO_CACHE = {"Cache-Control": "no-cache"}
CAUSES = sorted(AVAILABILITY_CAUSES)

SERVED, WITHHELD, NOT_NEEDED = "served", "withheld", "not needed"
THE_ID, THE_USER = Where(id=BAD), Where(user=ADA)
OUTAGE = (SERVED, None, "open")
OF_ONE = (SERVED, "id")
OF_RATED = {"resource-null", "no-id", "id-number", "wrong-type", "no-type", "value-text", "value-zero",
            "value-true", "attributes-list"}  # fmt: skip
"""Shapes that only rated ids have: a call for the other id is answered."""
CUT_OFF, LOST = "error=http_response_incomplete", "error=connection_terminated"


def relayed(status: int) -> str:
    return f"received-status={status}"


def unusable(status: int) -> str:
    return f"error=http_protocol_error; received-status={status}"


class Row(NamedTuple):
    does: AnyEffect
    status: int
    code: str | None
    proxy: str | None
    """`Proxy-Status`."""
    calls: int
    """For one read of two ids that are not cached."""
    stale: str
    isolated: str | None = None
    breaker: str = "closed"
    where: Where = EVERYWHERE


ROWS = {
    # what Apple does                             status, code, Proxy-Status   calls, stale, isolates, breaker
    "401":             Row(CannedReply(401),             401, "40100", relayed(401),  3, SERVED),
    "403 40300":       Row(CannedReply(403),             403, "40300", relayed(403),  1, WITHHELD, "user"),
    "403 html":        Row(CannedReply(403, "html"),     403, "40301", relayed(403),  1, SERVED),
    "403 empty":       Row(CannedReply(403, "empty"),    403, "40301", relayed(403),  1, SERVED),
    "400":             Row(CannedReply(400),             400, "40000", relayed(400),  3, WITHHELD),
    "400 for l":       Row(CannedReply(400, "blames-l"), 400, "40005", relayed(400),  1, WITHHELD),
    "429":             Row(CannedReply(429),             429, "42900", relayed(429),  5, SERVED),
    "429 html":        Row(CannedReply(429, "html"),     429, "42900", relayed(429),  5, SERVED),
    "429 empty":       Row(CannedReply(429, "empty"),    429, "42900", relayed(429),  5, SERVED),
    "429 message":     Row(CannedReply(429, "capacity"), 429, "42900", relayed(429),  5, SERVED),
    "429 no errors":   Row(CannedReply(429, "no-errors"), 429, "42900", relayed(429), 5, SERVED),
    "404 html":        Row(CannedReply(404, "html"),     502, "50200", unusable(404), 7, SERVED),
    "404 empty":       Row(CannedReply(404, "empty"),    502, "50200", unusable(404), 7, SERVED),
    "404 message":     Row(CannedReply(404, "capacity"), 502, "50200", unusable(404), 7, SERVED),
    "404 no errors":   Row(CannedReply(404, "no-errors"), 502, "50200", unusable(404), 7, SERVED),
    "500":             Row(CannedReply(500),             500, "50000", relayed(500),  7, *OUTAGE),
    "500 html":        Row(CannedReply(500, "html"),     500, "50000", relayed(500),  7, *OUTAGE),
    "502":             Row(CannedReply(502),             502, "50200", relayed(502),  7, *OUTAGE),
    "503 empty":       Row(CannedReply(503, "empty"),    503, "50300", relayed(503),  7, *OUTAGE),
    "504 html":        Row(CannedReply(504, "html"),     504, "50400", relayed(504),  7, *OUTAGE),
    "204":             Row(CannedReply(204),             502, "50200", unusable(204), 7, *OUTAGE),
    "206":             Row(CannedReply(206, "empty"),    502, "50200", unusable(206), 7, *OUTAGE),
    "302":             Row(CannedReply(302, "html"),     502, "50200", unusable(302), 7, *OUTAGE),
    "200 html":        Row(CannedReply(200, "html"),     502, "50200", unusable(200), 7, *OUTAGE),
    "200 empty":       Row(CannedReply(200, "empty"),    502, "50200", unusable(200), 7, *OUTAGE),
    "200 message":     Row(CannedReply(200, "capacity"), 502, "50200", unusable(200), 7, *OUTAGE),
    "half a document": Row(Truncate(honest=True),  502, "50200", unusable(200), 7, *OUTAGE),
    "next":            Row(Next(),                 502, "50200", unusable(200), 7, *OUTAGE),
    "strangers":       Row(Strangers(("9",)),      502, "50200", unusable(200), 7, *OUTAGE),
    "cut off":         Row(Truncate(),             502, "50200", CUT_OFF,       7, *OUTAGE),
    "reset":           Row(Reset(),                502, "50200", LOST, 8, SERVED, "connection", "open"),
    **{shape: Row(Misshape(shape), 502, "50200", unusable(200), 7, *(OF_ONE if shape in OF_RATED else OUTAGE))
       for shape in get_args(Shape)},
    # to one id, one user, one connection
    "an id, 500":  Row(CannedReply(500), 500, "50000", relayed(500), 7, SERVED,   "id",   where=THE_ID),
    "an id, 400":  Row(CannedReply(400), 400, "40000", relayed(400), 3, WITHHELD, "id",   where=THE_ID),
    "a user, 500": Row(CannedReply(500), 500, "50000", relayed(500), 7, SERVED,   "user", where=THE_USER),
    "a user, 401": Row(CannedReply(401), 401, "40100", relayed(401), 2, WITHHELD, "user", where=THE_USER),
    "a user, 403": Row(CannedReply(403), 403, "40300", relayed(403), 1, WITHHELD, "user", where=THE_USER),
    "kept connections reset": Row(Reset(kept=True), 200, None, None, 2, NOT_NEEDED, "connection"),
}  # fmt: skip

every_row = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)


async def warm_up(caller: Caller, sandbox: Sandbox, row: Row, *, cached: bool) -> None:
    """Ask for both users, so that there are kept connections; a while later Apple begins to fail."""
    sandbox.rate(BEN, Kind.ALBUMS, ONE, -1)
    await caller.get("songs", [1], user=BEN)
    if cached:
        await caller.get("albums", [ONE, BAD])
    caller.clock.shift += FRESH + 1
    sandbox.calls.clear()
    sandbox.faults.add(row.does, where=row.where)


def answered_in_part(row: Row) -> bool:
    """Whether one of the two ids is answered and cached, while the other fails."""
    return row.isolated == "id" or row.status == 200


@every_row
def test_with_nothing_cached_a_failure_is_an_error_and_never_unrated(row, capfd):
    async def story():
        async with scene() as (caller, sandbox):
            await warm_up(caller, sandbox, row, cached=False)
            replies = [await caller.get("albums", [ONE, BAD])]
            calls = sandbox.calls.total
            caller.clock.shift += ASKED_AGAIN
            replies.append(await caller.one("albums", BAD if row.where is THE_ID else ONE))
            caller.clock.shift += ASKED_AGAIN
            replies.append(await caller.ask("POST", ROOT, body={"ids": {"albums": [ONE, BAD]}}))
            sandbox.faults.clear()
            caller.clock.shift += ASKED_AGAIN
            headers = NO_CACHE if answered_in_part(row) else None
            return replies, calls, await caller.get("albums", [ONE, BAD], headers=headers)

    replies, calls, well = play(story())
    assert_no_bug_and_no_token(capfd)
    assert calls == row.calls
    for reply in replies:
        assert reply.status == row.status
        assert reply.headers["Content-Type"] == "application/json"
        assert ("Retry-After" in reply.headers) == (row.status in (429, 503))
        if row.status == 200:
            assert reply.values == {ONE: 1}
            continue
        assert reply.headers["Proxy-Status"] == f"ratings-gateway; {row.proxy}"
        assert reply.headers["Cache-Control"] == "no-store"
        error = reply.json["errors"][0]
        assert (error["status"], error["code"], len(error["id"])) == (str(row.status), row.code, 26)
        assert error["title"]
    assert (well.values, well.counts["upstream"]) == ({ONE: 1}, 2)
    assert well.cache == ("fwd=request; stored" if answered_in_part(row) else "fwd=miss; stored")


def assert_no_bug_and_no_token(capfd: pytest.CaptureFixture[str]) -> None:
    """Check that no bug was logged, and not the user's token."""
    said = "".join(capfd.readouterr())
    assert "Traceback" not in said
    assert not bug_logged(said)
    assert ADA not in said


@every_row
def test_what_is_cached_is_served_stale_unless_the_fault_is_the_callers(row):
    async def story():
        async with scene(cache__stale_while_revalidate_seconds=0) as (caller, sandbox):
            await warm_up(caller, sandbox, row, cached=True)
            stale = await caller.get("albums", [ONE, BAD])
            counted = {
                "ids": caller.sample("gateway_cache_ids_total", tier="local", result="stale"),
                "answers": caller.sample(
                    "gateway_http_request_duration_seconds_count",
                    route="/v1/me/ratings/{type}",
                    cache="stale",
                ),
            }
            sandbox.faults.clear()
            caller.clock.shift += ASKED_AGAIN
            return stale, counted, await caller.get("albums", [ONE, BAD])

    stale, counted, well = play(story())
    assert counted["ids"] == 2
    assert well.values == {ONE: 1}
    if row.stale == WITHHELD:
        assert (stale.status, stale.code) == (row.status, row.code)
        return
    assert (stale.status, stale.values) == (200, {ONE: 1})
    assert "Proxy-Status" not in stale.headers
    assert stale.headers["Cache-Control"] == "private, no-cache, max-age=0"
    if row.stale == NOT_NEEDED:
        assert (stale.cache, stale.headers["Age"]) == ("fwd=miss; stored", "0")
        return
    old = 1 if row.isolated == "id" else 2
    assert stale.cache == f"fwd=stale{answered(row)}"
    assert stale.counts == {"local": old, "shared": 0, "upstream": 2 - old, "stale": old}
    assert FRESH < int(stale.headers["Age"]) <= FRESH + 10
    assert counted["answers"] == 1
    if row.isolated != "id":
        assert (well.cache, well.headers["Age"]) == ("fwd=miss; stored", "0")


def answered(row: Row) -> str:
    """What `Cache-Status` says where Apple answered."""
    _, received, status = (row.proxy or "").rpartition("received-status=")
    return f"; fwd-status={status}" if received else ""


@every_row
def test_failures_are_kept_from_others_and_only_apples_own_open_the_breaker(row):
    async def story():
        async with scene() as (caller, sandbox):
            await warm_up(caller, sandbox, row, cached=False)
            others = set()
            for _ in range(15):
                await caller.get("albums", [ONE, BAD], headers=NO_CACHE)
                others.add((await caller.get("albums", [ONE, TWO], user=BEN, headers=NO_CACHE)).status)
            isolated = [
                what
                for what in ("id", "user", "connection")
                if caller.sample("gateway_upstream_isolated_total", what=what)
            ]
            return others, isolated, caller.sample("gateway_breaker_state", target="apple")

    others, isolated, breaker = play(story())
    assert isolated == ([row.isolated] if row.isolated else [])
    assert breaker == (2 if row.breaker == "open" else 0)
    if row.where is not EVERYWHERE or row.status == 200:
        assert others == {200}
    else:
        assert 200 not in others


COUNTED = {
    "401": "developer_token", "a user, 401": None, "a user, 403": None, "403 40300": None,
    "403 html": "apple", "400": None, "an id, 400": None, "an id, 500": None, "404 html": "apple",
    "429": None, "500": "apple", "200 html": "apple", "cut off": "apple", "kept connections reset": None,
}  # fmt: skip
"""`cause` of `requests_failed_total` for one failed read of each row."""


@pytest.mark.parametrize(("name", "cause"), COUNTED.items())
def test_availability_counts_failures_of_apple_and_of_the_developer_token_only(name, cause):
    async def story():
        async with scene() as (caller, sandbox):
            await warm_up(caller, sandbox, ROWS[name], cached=False)
            await caller.get("albums", [ONE, BAD])
            counted = await caller.metrics()
            return {each: counted[f'gateway_requests_failed_total{{cause="{each}"}}'] for each in CAUSES}

    assert play(story()) == dict.fromkeys(CAUSES, 0) | ({cause: 1} if cause else {})


# -- writes


class WriteRow(NamedTuple):
    method: str
    does: AnyEffect
    status: int
    calls: int
    applied: bool
    code: str | None = None
    isolated: int = 0
    """Connections that were replaced."""
    times: int | None = None
    headers: Mapping[str, str] | None = None


CONDITION = {"If-Match": '"1"'}
FORGOTTEN, FORGOTTEN_LATE = Reset(kept=True), Reset(kept=True, applied=True)
WRITES = {
    # what Apple does                                    status, calls, applied
    "PUT, 500":                 WriteRow("PUT",    CannedReply(500),               500, 1, False, "50000"),
    "PUT, 400":                 WriteRow("PUT",    CannedReply(400),               400, 1, False, "40000"),
    "PUT, 401":                 WriteRow("PUT",    CannedReply(401),               401, 1, False, "40100"),
    "PUT, 404 html":            WriteRow("PUT",    CannedReply(404, "html"),       502, 1, False, "50200"),
    "DELETE, 404":              WriteRow("DELETE", CannedReply(404),               404, 1, False, "40400"),
    "DELETE, 404 html":         WriteRow("DELETE", CannedReply(404, "html"),       404, 1, False, "40402"),
    "DELETE, 404 empty":        WriteRow("DELETE", CannedReply(404, "empty"),      404, 1, False, "40402"),
    "DELETE, 404 no errors":    WriteRow("DELETE", CannedReply(404, "no-errors"),  404, 1, False, "40402"),
    "PUT, 429 once":            WriteRow("PUT",    CannedReply(429), 200, 2, True, times=1),
    "DELETE, 429 once":         WriteRow("DELETE", CannedReply(429), 204, 2, True, times=1),
    "PUT, reset":               WriteRow("PUT",    Reset(),                  502, 2, False, "50200", 1),
    "PUT, forgotten":           WriteRow("PUT",    FORGOTTEN,                200, 2, True, None, 1),
    "PUT, forgotten late":      WriteRow("PUT",    FORGOTTEN_LATE,           200, 2, True, None, 1),
    "DELETE, forgotten":        WriteRow("DELETE", FORGOTTEN,                204, 2, True, None, 1),
    "DELETE, forgotten late":   WriteRow("DELETE", FORGOTTEN_LATE,           204, 2, True, None, 1),
    "conditional PUT, forgotten": WriteRow("PUT",  FORGOTTEN,     502, 1, False, "50200", headers=CONDITION),
    "conditional DELETE, forgotten": WriteRow("DELETE", FORGOTTEN, 502, 1, False, "50200", headers=CONDITION),
}  # fmt: skip


@pytest.mark.parametrize("row", WRITES.values(), ids=WRITES)
def test_a_write_is_repeated_if_that_is_safe(row):
    async def story():
        async with scene() as (caller, sandbox):
            await caller.get("albums", [ONE])
            sandbox.faults.add(row.does, where=Where(method=row.method), times=row.times)
            path, body = f"{ROOT}/albums/{ONE}", None
            if row.method == "PUT":
                body = {"type": "rating", "attributes": {"value": -1}}
            reply = await caller.ask(row.method, path, body=body, headers=row.headers)
            calls = sum(call.method == row.method for call in sandbox.calls)
            connections = caller.sample("gateway_upstream_isolated_total", what="connection")
            return reply, calls, sandbox.rating(ADA, Kind.ALBUMS, ONE), connections

    reply, calls, rating, connections = play(story())
    assert (reply.status, calls, connections) == (row.status, row.calls, row.isolated)
    assert rating == (1 if not row.applied else -1 if row.method == "PUT" else None)
    if row.code is not None:
        assert reply.code == row.code


UNREADABLE = {name: row for name, row in ROWS.items() if row.status == 502}


@pytest.mark.parametrize("row", UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_answer_to_a_write_is_no_bug_and_no_rating(row, capfd):
    async def story():
        async with scene(cache__write_hold_seconds=0) as (caller, sandbox):
            sandbox.faults.add(row.does, where=Where(method="PUT"))
            reply = await caller.rate("albums", ONE, -1)
            sandbox.faults.clear()
            read = await caller.get("albums", [ONE], headers=NO_CACHE)
            return reply.status, read.values, sandbox.rating(ADA, Kind.ALBUMS, ONE)

    status, values, rating = play(story())
    assert status == 502 or 200 <= status < 300
    assert values == {ONE: rating}
    assert_no_bug_and_no_token(capfd)


def test_a_repeated_delete_that_finds_nothing_is_done():
    async def story():
        async with scene() as (caller, sandbox):
            await caller.get("albums", [ONE])
            sandbox.faults.add(FORGOTTEN_LATE, where=Where(method="DELETE"))
            sandbox.faults.add(CannedReply(404), where=Where(method="DELETE"))
            return await caller.unrate("albums", ONE)

    reply = play(story())
    assert (reply.status, reply.body) == (204, b"")


def test_a_favorite_on_a_forgotten_connection_is_not_sent_twice():
    async def story():
        async with scene() as (caller, sandbox):
            await caller.get("albums", [ONE])
            sandbox.faults.add(FORGOTTEN, where=Where(method="POST"))
            reply = await caller.ask("POST", f"/v1/me/favorites?ids[albums]={ONE}")
            return reply.status, sum(call.method == "POST" for call in sandbox.calls)

    assert play(story()) == (502, 1)
