"""An event loop in virtual time: it never sleeps, and a seed decides every delay, so runs can be repeated.

Callbacks keep asyncio's order; only the durations of delays vary from seed to seed.
"""

import asyncio
import heapq
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

START = 1000.0


class Stuck(AssertionError):
    """A task waits for an event that can never happen."""


class SimulatedLoop(asyncio.BaseEventLoop):
    """Runs what is ready; when nothing is, moves its time to the next timer."""

    _ready: Any
    _scheduled: Any

    def __init__(self) -> None:
        super().__init__()
        self._now = START
        self.faults: list[dict[str, Any]] = []
        """Contexts that asyncio would have logged: exceptions that were never retrieved."""
        self.set_exception_handler(lambda _, context: self.faults.append(context))

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        while not self._ready:
            if not self._scheduled:
                raise Stuck("nothing is ready, and no timer is set")
            timer = heapq.heappop(self._scheduled)
            timer._scheduled = False
            if not timer._cancelled:
                self._now = max(self._now, timer._when)
                self._ready.append(timer)
        handle = self._ready.popleft()
        if not handle._cancelled:
            handle._run()

    def _write_to_self(self) -> None:
        """No other thread wakes this loop."""

    def _process_events(self, event_list: Any) -> None:
        raise AssertionError(event_list)


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
