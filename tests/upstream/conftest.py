"""What the tests of this room share."""

import pytest

from tests.hands import HandClock
from tests.upstream.scripted import playing


@pytest.fixture
async def script():
    async with playing() as script:
        yield script


@pytest.fixture
def clock():
    return HandClock()
