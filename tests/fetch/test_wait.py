import asyncio

import pytest

from gateway.errors import NoCapacity
from gateway.fetch.wait import FetchWait
from gateway.model import Id
from tests.hand_clock import HandClock

ONE, TWO = Id("1"), Id("2")
FOREVER = float("inf")


@pytest.fixture
def clock():
    return HandClock()


async def test_it_waits_for_the_last_of_its_ids(clock):
    wait = FetchWait(2, clock.monotonic)
    waiting = asyncio.create_task(wait.until(FOREVER))
    await asyncio.sleep(0)
    wait.settle(ONE, 1)
    await asyncio.sleep(0)
    assert not waiting.done()
    failure = NoCapacity("full")
    wait.settle(TWO, failure)
    await waiting
    assert wait.results == {ONE: 1, TWO: failure}


async def test_a_wait_for_settled_ids_returns_at_once(clock):
    wait = FetchWait(1, clock.monotonic)
    wait.settle(ONE, None)
    await wait.until(clock.monotonic() - 1.0)
    assert wait.results == {ONE: None}


async def test_a_wait_for_no_ids_returns_at_once(clock):
    await FetchWait(0, clock.monotonic).until(FOREVER)


async def test_a_wait_that_times_out_leaves_the_results_so_far(clock):
    wait = FetchWait(2, clock.monotonic)
    wait.settle(ONE, 1)
    await wait.until(clock.monotonic())
    assert wait.results == {ONE: 1}


async def test_a_wait_that_timed_out_can_be_repeated(clock):
    wait = FetchWait(1, clock.monotonic)
    await wait.until(clock.monotonic())
    waiting = asyncio.create_task(wait.until(FOREVER))
    await asyncio.sleep(0)
    wait.settle(ONE, 1)
    await waiting
    assert wait.results == {ONE: 1}


async def test_results_that_arrive_after_a_cancelled_wait_are_kept(clock):
    wait = FetchWait(1, clock.monotonic)
    waiting = asyncio.create_task(wait.until(FOREVER))
    await asyncio.sleep(0)
    waiting.cancel()
    wait.settle(ONE, 1)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert wait.results == {ONE: 1}


async def test_results_that_arrive_after_leaving_are_ignored(clock):
    wait = FetchWait(2, clock.monotonic)
    wait.settle(ONE, 1)
    wait.leave()
    wait.settle(TWO, -1)
    assert wait.results == {ONE: 1}
