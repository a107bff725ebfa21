"""The pages of the ops listener, on sample snapshots."""

from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from msgspec.structs import replace

from gateway.model import Id, Kind, User
from gateway.ops.access import OpsAccess
from gateway.ops.listener import Handler
from gateway.ops.pages import Pages
from gateway.ops.status.snapshot import AccessView, Snapshot
from tests.ops import samples

TOKEN = "the-ops-token"
URLS = ("http://127.0.0.1:1", "http://127.0.0.1:2")


def snapshot(access: AccessView) -> Snapshot:
    """A healthy gateway, as `access` may see it."""
    healthy = samples.healthy()
    if access.granted:
        return replace(healthy, access=access)
    return replace(healthy, access=access, settings=None, recent_errors=None)


async def explain(user: User, kind: Kind, id_: Id) -> dict[str, Any]:
    """Explain any id as liked and cached in this process."""
    entry = {
        "rating": 1,
        "age_seconds": 29.0,
        "fresh_for_seconds": 271.0,
        "state": "fresh",
        "trusted": True,
    }
    return {
        "type": kind.value,
        "id": id_,
        "user": user.label,
        "source": "local",
        "why": "It is in this process, and fresh.",
        "entry": entry,
        "local": entry,
        "stale": None,
        "hold": {"rating": -1, "for_seconds": 8.2},
        "in_flight": False,
        "quarantined": False,
        "isolated": [],
        "top_up": False,
    }


def pages(access: OpsAccess) -> Pages:
    """The pages of a healthy gateway."""
    return Pages(access=access, snapshot=snapshot, urls=lambda: URLS, explain=explain)


MakeApp = Callable[..., web.Application]


@pytest.fixture
def ops_app() -> MakeApp:
    """Make the application: `ops_app(token=…, remote=…)`; `remote` requests come through a proxy."""

    def make(*, token: str | None = None, remote: bool = False) -> web.Application:
        app = web.Application(middlewares=[_forwarded] if remote else [])
        app.add_routes(pages(OpsAccess(token=token)).routes())
        return app

    return make


@web.middleware
async def _forwarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    return await handler(request.clone(headers={**request.headers, "Via": "1.1 proxy"}))
