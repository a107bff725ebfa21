from collections.abc import AsyncIterator, Iterator

import pytest
from redis import Redis

from gateway.cache.redis import scripts
from gateway.cache.redis.scripts import SCRIPT_NAMES, Script
from tests.cache.redis.fake import fake_redis
from tests.cache.redis.harness import Side, side_of
from tests.faultproxy import FaultProxy
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


@pytest.fixture
def mortal() -> Iterator[RedisServer]:
    """A server of its own, which the test may stop."""
    with RedisServer() as server:
        yield server


@pytest.fixture
async def proxy(server: RedisServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy("127.0.0.1", server.port) as proxy:
        yield proxy


@pytest.fixture
async def near(server: RedisServer) -> AsyncIterator[Side]:
    """A gateway that reaches Redis throughout."""
    async with side_of(server.url, gateway_id="near") as side:
        yield side


@pytest.fixture
async def far(proxy: FaultProxy) -> AsyncIterator[Side]:
    """A gateway that reaches the same Redis through the proxy."""
    async with side_of(f"redis://127.0.0.1:{proxy.port}", gateway_id="far") as side:
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
