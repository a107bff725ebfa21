from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from fakeredis import FakeServer
from fakeredis.aioredis import FakeAsyncRedisConnection

from gateway.cache.redis import scripts
from gateway.cache.redis.connect import Opener
from gateway.cache.redis.scripts import SCRIPT_NAMES, Script
from tests.cache.redis.harness import Side, side_of
from tests.redis_server import RedisServer


@pytest.fixture(scope="session")
def redis_process() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def server(redis_process: RedisServer) -> RedisServer:
    """A real Redis with nothing in it."""
    with redis_process.client() as client:
        client.flushall()
    return redis_process


@pytest.fixture
async def side(server: RedisServer) -> AsyncIterator[Side]:
    async with side_of(server.url) as side:
        yield side


@pytest.fixture(params=[pytest.param("redis-server", marks=pytest.mark.redis_server), "fakeredis"])
def any_url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a real and then of a fake Redis with nothing in it."""
    if request.param == "redis-server":
        url: str = request.getfixturevalue("server").url
        return url
    for name in SCRIPT_NAMES:
        # The fake knows no flags of scripts.
        whole: Script = getattr(scripts, name.upper())
        monkeypatch.setattr(scripts, name.upper(), Script(name, whole.source.removeprefix(scripts.WHEN_FULL)))
    fake = FakeServer(version=(7, 0))

    def connection(*_: object, **__: object) -> Any:
        return FakeAsyncRedisConnection(server=fake, protocol=2, driver_info=None, socket_timeout=None)

    monkeypatch.setattr(Opener, "_connection", connection)
    return "redis://fake"
