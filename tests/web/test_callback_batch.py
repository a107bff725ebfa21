"""Work that is done together: by turns of the event loop, and without tasks."""

import asyncio
import time

import pytest

from gateway.web import callback_batch
from gateway.web.callback_batch import CallbackBatch
from gateway.web.eager import Eager


class TestInTurn:
    async def test_nothing_is_done_before_the_event_loops_next_turn(self):
        done: list[int] = []
        turn = CallbackBatch(done.append)
        turn.add(1)
        turn.add(2)
        assert done == []
        await asyncio.sleep(0)
        assert done == [1, 2]

    async def test_what_is_added_meanwhile_has_the_next_turn(self):
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

    async def test_a_bug_costs_nobody_else_a_turn(self):
        told: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
        done: list[float] = []
        turn: CallbackBatch[int] = CallbackBatch(lambda item: done.append(1 / item))
        for item in (0, 1):
            turn.add(item)
        await asyncio.sleep(0)
        assert done == [1]
        assert [type(error) for error in told] == [ZeroDivisionError]


class TestEager:
    async def test_the_first_step_is_made_at_once(self):
        steps: list[str | None] = []

        async def work() -> None:
            steps.append("begun")
            await asyncio.get_running_loop().create_future()

        Eager(work(), steps.append)
        assert steps == ["begun"]

    async def test_work_that_need_not_wait_has_ended_by_then(self):
        ended: list[int | None] = []

        async def work() -> int:
            return 7

        Eager(work(), ended.append)
        assert ended == [7]

    async def test_it_goes_on_with_each_future_that_it_waits_for(self):
        ended: list[int | None] = []
        futures: list[asyncio.Future[int]] = [asyncio.get_running_loop().create_future() for _ in range(2)]

        async def work() -> int:
            return await futures[0] + await futures[1]

        Eager(work(), ended.append)
        for number, future in enumerate(futures):
            assert ended == []
            future.set_result(number + 1)
            await asyncio.sleep(0)
        assert ended == [3]

    async def test_a_failed_future_is_raised_where_it_is_awaited(self):
        ended: list[str | None] = []
        future = asyncio.get_running_loop().create_future()

        async def work() -> str:
            with pytest.raises(KeyError):
                await future
            return "caught"

        Eager(work(), ended.append)
        future.set_exception(KeyError())
        await asyncio.sleep(0)
        assert ended == ["caught"]

    async def test_a_cancelled_future_ends_it_with_nothing(self):
        ended: list[str | None] = []
        future = asyncio.get_running_loop().create_future()

        async def work() -> str:
            await future
            return "never"

        Eager(work(), ended.append)
        future.cancel()
        await asyncio.sleep(0)
        assert ended == [None]
