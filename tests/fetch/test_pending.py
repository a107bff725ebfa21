import asyncio

import pytest

from gateway.errors import NoCapacity
from gateway.fetch.pending import PendingFetch
from gateway.model import Id
from tests.hand_clock import HandClock

ONE, TWO = Id("1"), Id("2")
FOREVER = float("inf")


@pytest.fixture
def clock():
    return HandClock()


async def test_it_waits_for_the_last_of_its_ids(clock):
    pending = PendingFetch(2, clock.monotonic)
    waiting = asyncio.create_task(pending.wait(FOREVER))
    await asyncio.sleep(0)
    pending.settle(ONE, 1)
    await asyncio.sleep(0)
    assert not waiting.done()
    failure = NoCapacity("full")
    pending.settle(TWO, failure)
    await waiting
    assert pending.outcomes == {ONE: 1, TWO: failure}


async def test_a_wait_for_settled_ids_returns_at_once(clock):
    pending = PendingFetch(1, clock.monotonic)
    pending.settle(ONE, None)
    await pending.wait(clock.monotonic() - 1.0)
    assert pending.outcomes == {ONE: None}


async def test_a_wait_for_no_ids_returns_at_once(clock):
    await PendingFetch(0, clock.monotonic).wait(FOREVER)


async def test_a_wait_that_times_out_leaves_the_outcomes_so_far(clock):
    pending = PendingFetch(2, clock.monotonic)
    pending.settle(ONE, 1)
    await pending.wait(clock.monotonic())
    assert pending.outcomes == {ONE: 1}


async def test_a_wait_that_timed_out_can_be_repeated(clock):
    pending = PendingFetch(1, clock.monotonic)
    await pending.wait(clock.monotonic())
    waiting = asyncio.create_task(pending.wait(FOREVER))
    await asyncio.sleep(0)
    pending.settle(ONE, 1)
    await waiting
    assert pending.outcomes == {ONE: 1}


async def test_outcomes_that_arrive_after_a_cancelled_wait_are_kept(clock):
    pending = PendingFetch(1, clock.monotonic)
    waiting = asyncio.create_task(pending.wait(FOREVER))
    await asyncio.sleep(0)
    waiting.cancel()
    pending.settle(ONE, 1)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert pending.outcomes == {ONE: 1}


async def test_outcomes_that_arrive_after_leaving_are_ignored(clock):
    pending = PendingFetch(2, clock.monotonic)
    pending.settle(ONE, 1)
    pending.leave()
    pending.settle(TWO, -1)
    assert pending.outcomes == {ONE: 1}
