"""When memory is reclaimed: only after growth, old garbage rarely, and freed in a thread."""

import gc
import threading
from collections.abc import Iterator

import pytest
from yarl import URL

from gateway.reclaim import ALL, FULL_SECONDS, SLACK_BYTES, YOUNG, Reclaimer, collect, resident_bytes

MIB = 1024 * 1024


class Process:
    """Memory that a test fills, with garbage of both sorts."""

    def __init__(self) -> None:
        self.live = 70 * MIB
        self.garbage = {YOUNG: 0, ALL: 0}
        self.collected: list[int] = []
        self.trimmed_by: list[threading.Thread] = []
        self.now = 100.0

    def resident(self) -> int | None:
        return self.live + sum(self.garbage.values())

    def collect(self, generation: int) -> None:
        self.collected.append(generation)
        for each in self.garbage:
            if each <= generation:
                self.garbage[each] = 0

    def trim(self) -> None:
        self.trimmed_by.append(threading.current_thread())

    def reclaimer(self) -> Reclaimer:
        return Reclaimer(resident=self.resident, collect=self.collect, trim=self.trim, now=lambda: self.now)


@pytest.fixture
def process() -> Process:
    return Process()


async def test_without_growth_nothing_is_done(process):
    reclaimer = process.reclaimer()
    process.garbage[YOUNG] = SLACK_BYTES
    await reclaimer.step()
    assert process.collected == []


async def test_young_garbage_is_collected_after_growth_and_trimmed_in_a_thread(process):
    reclaimer = process.reclaimer()
    process.garbage[YOUNG] = 50 * MIB
    await reclaimer.step()
    assert process.collected == [YOUNG]
    assert threading.main_thread() not in process.trimmed_by
    assert process.resident() == process.live


async def test_old_garbage_is_collected_if_that_was_not_enough_but_not_every_second(process):
    reclaimer = process.reclaimer()
    process.garbage[ALL] = 50 * MIB
    await reclaimer.step()
    assert process.collected == [YOUNG]
    process.now += FULL_SECONDS
    await reclaimer.step()
    assert process.collected == [YOUNG, YOUNG, ALL]
    assert process.resident() == process.live


async def test_memory_in_use_is_the_new_base(process):
    reclaimer = process.reclaimer()
    process.live += 50 * MIB
    process.now += FULL_SECONDS
    await reclaimer.step()
    process.collected.clear()
    await reclaimer.step()
    assert process.collected == []


async def test_the_watch_ends_if_memory_cannot_be_watched():
    reclaimer = Reclaimer(resident=lambda: None, collect=lambda _: None, trim=lambda: None, now=lambda: 0.0)
    await reclaimer.run()
    await reclaimer.step()


@pytest.fixture
def _no_automatic_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_automatic_collection")
def test_cycles_are_freed_and_long_urls_forgotten():
    class Cycle:
        freed = False

        def __init__(self) -> None:
            self.self = self

        def __del__(self) -> None:
            Cycle.freed = True

    Cycle()
    target = "/" + "a" * 100_000
    url = URL.build(path=target, encoded=True)
    collect(YOUNG)
    assert Cycle.freed
    assert URL.build(path=target, encoded=True) is not url


def test_the_memory_of_this_process_is_known():
    assert (resident_bytes() or 0) > MIB
