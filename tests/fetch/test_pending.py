"""One request's wait: a countdown, a time limit, and a departure that disturbs nobody."""

import asyncio

import pytest

from gateway.errors import NoCapacity
from gateway.fetch.pending import PendingFetch
from gateway.model import Id
from tests.user_input import HandClock

ONE, TWO = Id("1"), Id("2")
FOREVER = float("inf")


@pytest.fixture
def clock():
    return HandClock()


async def test_it_waits_for_the_last_of_its_ids(clock):
    waiter = PendingFetch(2, clock.monotonic)
    waiting = asyncio.create_task(waiter.wait(FOREVER))
    await asyncio.sleep(0)
    waiter.settle(ONE, b"x")
    await asyncio.sleep(0)
    assert not waiting.done()
    failure = NoCapacity("full")
    waiter.settle(TWO, failure)
    await waiting
    assert waiter.outcomes == {ONE: b"x", TWO: failure}


async def test_what_is_settled_before_the_wait_needs_none(clock):
    waiter = PendingFetch(1, clock.monotonic)
    waiter.settle(ONE, None)
    await waiter.wait(clock.monotonic() - 1.0)
    assert waiter.outcomes == {ONE: None}


async def test_no_ids_need_no_wait(clock):
    await PendingFetch(0, clock.monotonic).wait(FOREVER)


async def test_the_time_limit_ends_the_wait_with_what_is_known(clock):
    waiter = PendingFetch(2, clock.monotonic)
    waiter.settle(ONE, b"x")
    await waiter.wait(clock.monotonic())
    assert waiter.outcomes == {ONE: b"x"}


async def test_it_may_wait_again_after_its_time_was_up(clock):
    waiter = PendingFetch(1, clock.monotonic)
    await waiter.wait(clock.monotonic())
    waiting = asyncio.create_task(waiter.wait(FOREVER))
    await asyncio.sleep(0)
    waiter.settle(ONE, b"x")
    await waiting
    assert waiter.outcomes == {ONE: b"x"}


async def test_outcomes_that_come_after_a_cancelled_wait_are_kept(clock):
    waiter = PendingFetch(1, clock.monotonic)
    waiting = asyncio.create_task(waiter.wait(FOREVER))
    await asyncio.sleep(0)
    waiting.cancel()
    waiter.settle(ONE, b"x")
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert waiter.outcomes == {ONE: b"x"}


async def test_after_leaving_nothing_changes_any_more(clock):
    waiter = PendingFetch(2, clock.monotonic)
    waiter.settle(ONE, b"x")
    waiter.leave()
    waiter.settle(TWO, b"y")
    assert waiter.outcomes == {ONE: b"x"}
