"""Callbacks that run back to back, by turns of the event loop."""

import asyncio
import time

from gateway.web import callback_batch
from gateway.web.callback_batch import CallbackBatch


class TestCallbackBatch:
    async def test_nothing_is_done_before_the_event_loops_next_turn(self):
        done: list[int] = []
        turn = CallbackBatch(done.append)
        turn.add(1)
        turn.add(2)
        assert done == []
        await asyncio.sleep(0)
        assert done == [1, 2]

    async def test_callbacks_added_meanwhile_run_in_the_next_turn(self):
        done: list[int] = []

        def do(item: int) -> None:
            done.append(item)
            if item < 3:
                turn.add(item + 1)

        turn = CallbackBatch(do)
        turn.add(1)
        await asyncio.sleep(0)
        assert done == [1]
        await asyncio.sleep(0)
        assert done == [1, 2]

    async def test_a_turn_that_takes_long_is_cut_and_goes_on(self, monkeypatch):
        clock = iter(range(100))
        monkeypatch.setattr(time, "perf_counter", lambda: next(clock) * callback_batch.LONGEST_SECONDS)
        done: list[int] = []
        turn = CallbackBatch(done.append)
        for item in range(3):
            turn.add(item)
        for most in (1, 2, 3):
            await asyncio.sleep(0)
            assert len(done) == most

    async def test_an_exception_in_one_callback_does_not_skip_the_others(self):
        told: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
        done: list[float] = []
        turn: CallbackBatch[int] = CallbackBatch(lambda item: done.append(1 / item))
        for item in (0, 1):
            turn.add(item)
        await asyncio.sleep(0)
        assert done == [1]
        assert [type(error) for error in told] == [ZeroDivisionError]
