from collections.abc import AsyncIterator, Iterator

import pytest
from redis import Redis

from gateway.cache.redis import scripts
from gateway.cache.redis.scripts import SCRIPT_NAMES, Script
from tests.cache.redis.fake import fake_redis
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
def client(server: RedisServer) -> Iterator[Redis]:
    """Looks at the server from outside, and changes it behind the gateway's back."""
    with server.client() as client:
        yield client


@pytest.fixture
async def side(server: RedisServer) -> AsyncIterator[Side]:
    async with side_of(server.url) as side:
        yield side


@pytest.fixture(params=[pytest.param("redis-server", marks=pytest.mark.redis_server), "fakeredis"])
async def any_url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The URL of a real and then of a fake Redis with nothing in it."""
    if request.param == "redis-server":
        yield request.getfixturevalue("server").url
        return
    for name in SCRIPT_NAMES:
        # The fake does not support script flags.
        whole: Script = getattr(scripts, name.upper())
        monkeypatch.setattr(scripts, name.upper(), Script(name, whole.source.removeprefix(scripts.WHEN_FULL)))
    async with fake_redis() as url:
        yield url
