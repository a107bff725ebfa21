"""Time as an argument: what the process reads as now, and what tests move by hand."""

import time
from typing import Protocol


class Clock(Protocol):
    """Where now comes from. Ages and deadlines are monotonic; only token claims and logs use the wall."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...

    def time(self) -> float:
        """Seconds since the epoch, by the wall clock."""
        ...


class SystemClock:
    """The clocks of this machine."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)
