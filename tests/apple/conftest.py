"""What the tests of this room share."""

import pytest

from tests.apple.scripted import playing
from tests.hand_clock import HandClock


@pytest.fixture
async def script():
    async with playing() as script:
        yield script


@pytest.fixture
def clock():
    return HandClock()
