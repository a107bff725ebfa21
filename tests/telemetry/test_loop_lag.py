"""The delay of the event loop, on a fake clock."""

import asyncio
import time

from gateway.telemetry.loop_lag import STEP_SECONDS, WINDOW_SECONDS, LoopLag


class Hand:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_longest_delay_is_reported_for_at_least_a_window():
    clock = Hand()
    lag = LoopLag(clock)
    lag.add(0.5)
    lag.add(0.1)
    assert lag.highest() == 0.5
    clock.now = WINDOW_SECONDS
    lag.add(0.1)
    assert lag.highest() == 0.5
    clock.now = 2 * WINDOW_SECONDS
    lag.add(0.1)
    assert lag.highest() == 0.1


async def test_a_callback_that_blocks_the_loop_is_measured():
    lag = LoopLag(time.monotonic)
    measuring = asyncio.create_task(lag.measure())
    await asyncio.sleep(0)
    time.sleep(STEP_SECONDS + 0.2)  # noqa: ASYNC251 - blocking the loop is what is measured
    # Later than the timer, which is overdue now.
    await asyncio.sleep(0.001)
    await asyncio.sleep(0)
    measuring.cancel()
    assert lag.highest() >= 0.15
