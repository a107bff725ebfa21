"""Does the same for several, one right after the other, when the event loop has taken in all that was there.

Between two system calls the same code takes half as long again as next to itself (docs/performance.md).
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

LONGEST_SECONDS: Final = 0.001
"""Then others have a turn, and answers go out: the first of a thousand must not wait for the last."""


class CallbackBatch(Generic[T]):
    """Calls `do` with each item that was added, in that order, in the event loop's next turns."""

    def __init__(self, do: Callable[[T], None]) -> None:
        self._do = do
        self._items: deque[T] = deque()
        self._loop = asyncio.get_running_loop()

    def add(self, item: T) -> None:
        """Have it done soon."""
        if not self._items:
            self._loop.call_soon(self._run)
        self._items.append(item)

    def _run(self) -> None:
        until = time.perf_counter() + LONGEST_SECONDS
        # What is added meanwhile has the next turn: there may be no end to it.
        for _ in range(len(self._items)):
            try:
                self._do(self._items[0])
            except Exception as error:  # noqa: BLE001 - a bug must not cost the others their turn
                self._loop.call_exception_handler({"message": "bug", "exception": error})
            self._items.popleft()
            if time.perf_counter() >= until:
                break
        if self._items:
            self._loop.call_soon(self._run)
