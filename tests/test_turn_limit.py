"""A limit on work in one turn of the event loop."""

import asyncio

from gateway.turn_limit import TurnLimit


async def test_it_is_reached_until_the_next_turn():
    limit = TurnLimit(2)
    limit.count()
    assert not limit.reached
    limit.count()
    assert limit.reached
    await asyncio.sleep(0)
    assert not limit.reached


async def test_work_beyond_it_is_counted_too():
    limit = TurnLimit(1)
    limit.count()
    limit.count()
    assert limit.reached
    await asyncio.sleep(0)
    assert not limit.reached


async def test_the_next_turn_is_reported_once_and_may_use_the_limit_up_again():
    turns = 0

    def work() -> None:
        nonlocal turns
        turns += 1
        if turns == 1:
            limit.count()

    limit = TurnLimit(1, work)
    limit.count()
    await asyncio.sleep(0)
    assert (turns, limit.reached) == (1, True)
    await asyncio.sleep(0)
    assert (turns, limit.reached) == (2, False)
    await asyncio.sleep(0)
    assert turns == 2
