import asyncio
import time

from gateway.web import callback_batch
from gateway.web.callback_batch import CallbackBatch


async def test_nothing_is_done_before_the_next_iteration_of_the_event_loop():
    done: list[int] = []
    batch = CallbackBatch(done.append)
    batch.add(1)
    batch.add(2)
    assert done == []
    await asyncio.sleep(0)
    assert done == [1, 2]


async def test_items_added_while_it_runs_wait_for_the_next_iteration():
    done: list[int] = []

    def do(item: int) -> None:
        done.append(item)
        if item < 3:
            batch.add(item + 1)

    batch = CallbackBatch(do)
    batch.add(1)
    await asyncio.sleep(0)
    assert done == [1]
    await asyncio.sleep(0)
    assert done == [1, 2]


async def test_a_run_that_takes_long_is_cut_and_continued(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock) * callback_batch.LONGEST_SECONDS)
    done: list[int] = []
    batch = CallbackBatch(done.append)
    for item in range(3):
        batch.add(item)
    for most in (1, 2, 3):
        await asyncio.sleep(0)
        assert len(done) == most


async def test_an_item_that_raises_does_not_stop_the_others():
    raised: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context["exception"]))
    done: list[float] = []
    batch: CallbackBatch[int] = CallbackBatch(lambda item: done.append(1 / item))
    for item in (0, 1):
        batch.add(item)
    await asyncio.sleep(0)
    assert done == [1]
    assert [type(error) for error in raised] == [ZeroDivisionError]
