from collections.abc import AsyncIterator, Iterator

import pytest

from gateway.sandbox import Sandbox
from tests.e2e.harness import Caller, gateway_on
from tests.redis_server import RedisServer


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
async def gateway(sandbox: Sandbox) -> AsyncIterator[Caller]:
    async with gateway_on(sandbox) as caller:
        yield caller


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as redis:
        yield redis
