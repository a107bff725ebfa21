from collections.abc import AsyncIterator

import pytest

from gateway.sandbox import Sandbox
from tests.e2e.harness import Caller, gateway_on


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
async def gateway(sandbox: Sandbox) -> AsyncIterator[Caller]:
    async with gateway_on(sandbox) as caller:
        yield caller
