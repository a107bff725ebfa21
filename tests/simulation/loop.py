"""An event loop in virtual time: it never sleeps, and a seed decides every delay, so runs can be repeated.

Callbacks keep asyncio's order; only the durations of delays vary from seed to seed.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

START = 1000.0


class Stuck(AssertionError):
    """A task waits for an event that can never happen."""


class _Selector(selectors.SelectSelector):
    """Reports how long the loop would wait for its next timer, instead of waiting."""

    def __init__(self, passed: Callable[[float], None]) -> None:
        super().__init__()
        self._passed = passed

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stuck("nothing is ready, and no timer is set")
        self._passed(timeout)
        return []


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Runs what is ready; when nothing is, moves its time to the next timer."""

    def __init__(self) -> None:
        self._now = START
        super().__init__(_Selector(self._pass))
        self.faults: list[dict[str, Any]] = []
        """Contexts that asyncio would have logged: exceptions that were never retrieved."""
        self.set_exception_handler(lambda _, context: self.faults.append(context))

    def time(self) -> float:
        return self._now

    def _pass(self, seconds: float) -> None:
        self._now += seconds


class LoopClock:
    """The loop's time as the gateway's clocks."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop

    def monotonic(self) -> float:
        return self._loop.time()

    def time(self) -> float:
        return 1_700_000_000.0 + self._loop.time()


def run(loop: SimulatedLoop, work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end. Raises its exceptions, and `Stuck`."""
    try:
        return loop.run_until_complete(work)
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.close()
