"""Clocks as an argument: the machine's in the process, fake ones in tests."""

import time
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Final, Protocol

MICROSECONDS: Final = 1_000_000
"""In a second."""


class Clock(Protocol):
    """Where now comes from. Only token claims and log lines use the wall clock."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back, and counts the time of a suspend."""
        ...

    def time(self) -> float:
        """Seconds since the epoch, by the wall clock."""
        ...


def counting_suspend(source: ModuleType) -> Callable[[], float]:
    """The clock of `source` (the module `time`) that keeps counting while the machine is suspended.

    With the plain monotonic clock an entry from before a night's suspend would be fresh in the morning. macOS
    has no such clock, so its plain one is used there. Timers are the event loop's, and stop during a suspend.
    """
    if hasattr(source, "CLOCK_BOOTTIME"):
        return partial(source.clock_gettime, source.CLOCK_BOOTTIME)
    monotonic: Callable[[], float] = source.monotonic
    return monotonic


class SystemClock:
    """The clocks of this machine."""

    monotonic = staticmethod(counting_suspend(time))
    time = staticmethod(time.time)
