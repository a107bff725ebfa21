"""The routes of the ops listener besides pages: probes, metrics, purge and reload."""

from collections.abc import Sequence
from typing import NamedTuple

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter

from gateway.model import Id, Kind, User
from gateway.ops.access import OpsAccess
from gateway.ops.health import Check
from gateway.ops.server import Ops, Reloaded
from gateway.sandbox import ADA
from tests.ops.conftest import TOKEN, pages

USER = {"Music-User-Token": ADA}


class Purged(NamedTuple):
    user: bytes
    kind: Kind | None
    ids: Sequence[Id] | None


class Parts:
    """The parts of a gateway that the handlers use, as a test sets them."""

    def __init__(self) -> None:
        self.check = Check("accepting", ok=True, detail="yes", required=True)
        self.granted: list[bool] = []
        self.started = True
        self.reloaded = Reloaded()
        self.purged: list[Purged] = []
        self.reaches_redis = True
        self.registry = CollectorRegistry()

    async def purge(self, user: bytes, kind: Kind | None, ids: Sequence[Id] | None) -> bool:
        self.purged.append(Purged(user, kind, ids))
        return self.reaches_redis

    def checks(self, *, granted: bool) -> list[Check]:
        self.granted.append(granted)
        return [self.check]

    async def reload(self) -> Reloaded:
        return self.reloaded


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest.fixture
def client(aiohttp_client, parts: Parts):
    """Connect to the routes: `await client(token=…)`."""

    async def connect(token: str | None = None):
        access = OpsAccess(token=token)
        ops = Ops(
            access=access,
            checks=parts.checks,
            started=lambda: parts.started,
            purge=parts.purge,
            pages=pages(access),
            registry=parts.registry,
        )
        application = web.Application()
        application.add_routes(ops.routes(parts.reload))
        return await aiohttp_client(application)

    return connect


async def test_the_liveness_probe_is_200_while_the_event_loop_runs(client):
    response = await (await client()).get("/livez")
    assert (response.status, await response.text()) == (200, "ok\n")


@pytest.mark.parametrize(("started", "status"), [(True, 200), (False, 503)])
async def test_the_startup_probe_is_200_once_the_api_listener_accepts(client, parts, started, status):
    parts.started = started
    assert (await (await client()).get("/startupz")).status == status


@pytest.mark.parametrize(
    ("ok", "required", "status", "text"),
    [(True, True, 200, "ready\n"), (False, True, 503, "not ready\n"), (False, False, 200, "ready\n")],
)
async def test_the_readiness_probe_depends_on_required_checks(client, parts, ok, required, status, text):
    parts.check = Check("accepting", ok=ok, detail="draining", required=required)
    response = await (await client()).get("/readyz")
    assert (response.status, await response.text()) == (status, text)


async def test_the_readiness_probe_lists_its_checks_if_asked(client, parts):
    parts.check = Check("accepting", ok=False, detail="draining", required=True)
    response = await (await client()).get("/readyz?verbose")
    assert (response.status, await response.text()) == (503, "[-] accepting: draining\nnot ready\n")


async def test_the_checks_receive_whether_the_requester_may_see_everything(client, parts):
    connection = await client(token="secret")
    await connection.get("/readyz?verbose")
    await connection.get("/readyz?verbose", headers={"Authorization": "Bearer secret"})
    assert parts.granted == [False, True]


async def test_metrics_are_those_of_the_registry(client, parts):
    Counter("kettles", "Kettles boiled.", registry=parts.registry).inc(2)
    response = await (await client()).get("/metrics")
    assert "kettles_total 2.0" in await response.text()


async def test_the_pages_are_served_here(client):
    assert "Status" in await (await (await client()).get("/status")).text()


@pytest.mark.parametrize(
    ("body", "kind", "ids"),
    [
        (None, None, None),
        ({}, None, None),
        ({"type": "songs"}, Kind.SONGS, None),
        ({"type": "albums", "ids": ["1", "2"]}, Kind.ALBUMS, ["1", "2"]),
    ],
)
async def test_a_purge_covers_everything_one_type_or_some_ids_of_the_user(client, parts, body, kind, ids):
    response = await (await client()).post("/-/purge", json=body, headers=USER)
    assert (response.status, await response.json()) == (200, {"purged": True})
    assert parts.purged == [(User.of(ADA).key, kind, ids)]


async def test_a_purge_that_redis_has_not_received_yet_says_so(client, parts):
    parts.reaches_redis = False
    response = await (await client()).post("/-/purge", headers=USER)
    assert (response.status, await response.json()) == (200, {"purged": False})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "Input data was truncated"),
        (b"\xff", "JSON"),
        (b'{"more":1}', "unknown field `more`"),
        (b'{"type":"artists"}', "Unknown type 'artists'; known: albums, songs"),
        (b'{"ids":["1"]}', "ids need a type"),
        (b'{"type":"albums","ids":["x","1"]}', "Invalid albums ids: x."),
        (b'{"ids":"1"}', "Expected `array"),
    ],
)
async def test_an_invalid_purge_is_400_and_purges_nothing(client, parts, body, reason):
    response = await (await client()).post("/-/purge", data=body, headers=USER)
    assert response.status == 400
    assert reason in await response.text()
    assert parts.purged == []


async def test_a_purge_without_a_user_token_is_400(client, parts):
    assert (await (await client()).post("/-/purge")).status == 400
    assert parts.purged == []


@pytest.mark.parametrize(
    ("reloaded", "status", "answer"),
    [
        (Reloaded(), 200, {"reloaded": True}),
        (Reloaded(not_applied=("log.level",)), 200, {"reloaded": True, "not_applied": ["log.level"]}),
        (Reloaded(fault="log.level: loud"), 500, {"reloaded": False, "error": "log.level: loud"}),
    ],
)
async def test_a_reload_answers_how_it_ended(client, parts, reloaded, status, answer):
    parts.reloaded = reloaded
    response = await (await client()).post("/-/reload")
    assert (response.status, await response.json()) == (status, answer)


@pytest.mark.parametrize("path", ["/-/purge", "/-/reload"])
@pytest.mark.parametrize(
    ("authorization", "status"), [(None, 401), ("Bearer wrong", 401), (f"Bearer {TOKEN}", 200)]
)
async def test_what_changes_something_requires_the_ops_token(client, path, authorization, status):
    headers = USER if authorization is None else USER | {"Authorization": authorization}
    assert (await (await client(token=TOKEN)).post(path, headers=headers)).status == status


@pytest.mark.parametrize("path", ["/-/purge", "/-/reload"])
async def test_a_get_on_a_route_that_changes_something_is_405(client, path):
    assert (await (await client()).get(path)).status == 405
