"""An ops listener with nothing but the pages, on sources that a test fills."""

from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from gateway.breaker import State
from gateway.model import Id, Kind, User
from gateway.ops.access import OpsAccess
from gateway.ops.health import Check
from gateway.ops.history import History, read
from gateway.ops.listener import Handler
from gateway.ops.pages import Pages
from gateway.ops.status.collect import Bounds, Sources, breaker_view
from gateway.ops.status.snapshot import RedisView
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.recent import RecentErrors

REDIS = RedisView(
    address="redis://cache:6379/0",
    answering=True,
    answering_for_seconds=None,
    news=True,
    news_for_seconds=3.0,
    untold_writes=0,
)
TOKEN = "the-ops-token"


class HandMovedClock:
    """Both clocks, where the test puts them."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1_780_000_000.0 + self.now


@pytest.fixture
def clock() -> HandMovedClock:
    return HandMovedClock()


@pytest.fixture
def sources(clock: HandMovedClock) -> Sources:
    """Those of a gateway that started 600 s ago and has a good token, and no request yet."""
    metrics = Metrics()
    metrics.developer_token_expiry.set(clock.time() + 40_000)
    history = History()
    history.take(read(metrics), clock.now)
    return Sources(
        metrics=metrics,
        history=history,
        recent=RecentErrors(),
        clock=clock,
        started_at=400.0,
        addresses=lambda: ("http://127.0.0.1:1", "http://127.0.0.1:2"),
        checks=lambda: [Check("accepting", ok=True, detail="yes", required=True)],
        breakers=lambda: [breaker_view("apple", State.CLOSED, 995.0, clock.now)],
        redis=lambda: REDIS,
        upstream_url="https://api.music.apple.com",
        not_applied=tuple,
        bounds=Bounds(
            max_concurrency=64, local_max_entries=200, local_max_bytes=4_000, local_trust_seconds=1.0
        ),
        settings={"server.port": "8080", "server.caller_tokens": "-", "apple.key_id": "KEYKEYKEY1"},
        settings_from={"server.port": "default", "server.caller_tokens": "default", "apple.key_id": "file x"},
    )


async def explain(user: User, kind: Kind, id_: Id) -> dict[str, Any]:
    """Says that everything is liked and in this process."""
    entry = {
        "rating": 1,
        "age_seconds": 29.0,
        "fresh_for_seconds": 271.0,
        "state": "fresh",
        "believed": True,
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
    }


MakeApp = Callable[..., web.Application]


@pytest.fixture
def ops_app(sources: Sources) -> MakeApp:
    """Make the application: `ops_app(token=…, remote=…)`; `remote` requests come through a proxy."""

    def make(*, token: str | None = None, remote: bool = False) -> web.Application:
        app = web.Application(middlewares=[_forwarded] if remote else [])
        app.add_routes(Pages(access=OpsAccess(token=token), sources=sources, explain=explain).routes())
        return app

    return make


@web.middleware
async def _forwarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    return await handler(request.clone(headers={**request.headers, "Via": "1.1 proxy"}))
