"""What the tests of this package share."""

import pytest

from gateway.apple.transport import connect
from tests.apple.builders import Workshop
from tests.apple.fetches import Bench
from tests.apple.scripted import playing
from tests.hand_clock import HandClock


@pytest.fixture
async def script():
    async with playing() as script:
        yield script


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
async def bench(script, clock):
    async with connect(base_url=script.url, origin=None, max_concurrency=8, clock=clock) as transport:
        yield Bench(script, Workshop(transport, clock, max_concurrency=8, min_calls=1000))
