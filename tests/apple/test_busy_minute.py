"""The limit in a minute in which Apple throttles at random: fifty calls a second need fifteen at once."""

import asyncio
import random

import pytest

from gateway.apple.concurrency import ConcurrencyLimiter
from gateway.model import Priority
from gateway.telemetry.metrics import Metrics
from gateway.waiters import Requester, Waiters
from tests.e2e.clock_jumps import LoopClock, play

CALLS = 50 * 60
SECONDS = 0.3
THROTTLED = 0.1


async def longest_wait(seed):
    """Seconds that the slowest call of the minute stood in the queue."""
    clock = LoopClock()
    chance = random.Random(seed)
    limiter = ConcurrencyLimiter(
        max_concurrency=64, clock=clock, metrics=Metrics(), on_throttled=lambda _: None
    )
    waited = []

    async def call():
        while True:
            asked = clock.monotonic()
            async with limiter.slot(Waiters(Priority.FOREGROUND, Requester()), asked + 600):
                waited.append(clock.monotonic() - asked)
                await asyncio.sleep(SECONDS)
                if chance.random() >= THROTTLED:
                    limiter.succeeded()
                    return
                limiter.throttled(None)
            await asyncio.sleep(0.5 + 0.1 * chance.random())

    async with asyncio.TaskGroup() as minute:
        for _ in range(CALLS):
            minute.create_task(call())
            await asyncio.sleep(60 / CALLS)
    return max(waited)


@pytest.mark.parametrize("seed", range(3))
def test_a_tenth_of_429s_does_not_starve_a_busy_gateway(seed):
    assert play(longest_wait(seed)) < 3.0
