"""Measures how late the event loop runs its callbacks."""

import asyncio
from collections.abc import Callable
from typing import Final

STEP_SECONDS: Final = 0.25
WINDOW_SECONDS: Final = 15.0
"""Prometheus usually scrapes that often, and must not miss a stall between two scrapes."""


class LoopLag:
    """The longest delay of a timer within the last one to two windows, in seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._highest = self._before = 0.0
        self._began = now()

    async def measure(self) -> None:
        """Measure until cancelled."""
        while True:
            due = self._now() + STEP_SECONDS
            await asyncio.sleep(STEP_SECONDS)
            self.add(self._now() - due)

    def add(self, lag: float) -> None:
        """Count a delay of `lag` seconds."""
        now = self._now()
        if now - self._began >= WINDOW_SECONDS:
            self._before, self._highest, self._began = self._highest, 0.0, now
        self._highest = max(self._highest, lag)

    def highest(self) -> float:
        """The longest recent delay in seconds."""
        return max(self._highest, self._before)
