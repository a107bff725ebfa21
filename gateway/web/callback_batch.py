"""Runs the same callback for many items back to back, once per turn of the event loop.

Run one by one between system calls, the same code takes 1.5 times as long (docs/performance.md).
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

LONGEST_SECONDS: Final = 0.001
"""Longest run in seconds; then the loop sends what was written: the first of a thousand must not wait for the
last."""


class CallbackBatch(Generic[T]):
    """Calls `do` with each added item, in order, in the next turns of the event loop."""

    def __init__(self, do: Callable[[T], None]) -> None:
        self._do = do
        self._items: deque[T] = deque()
        self._loop = asyncio.get_running_loop()

    def add(self, item: T) -> None:
        """Schedule `item`."""
        if not self._items:
            self._loop.call_soon(self._run)
        self._items.append(item)

    def _run(self) -> None:
        until = time.perf_counter() + LONGEST_SECONDS
        # Items added meanwhile wait for the next turn, because there may be no end of them.
        for _ in range(len(self._items)):
            try:
                self._do(self._items[0])
            except Exception as error:  # noqa: BLE001 - a bug must not affect the other items
                self._loop.call_exception_handler({"message": "bug", "exception": error})
            self._items.popleft()
            if time.perf_counter() >= until:
                break
        if self._items:
            self._loop.call_soon(self._run)
