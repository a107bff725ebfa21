"""How far Apple's clock is ahead of ours, by the `Date` of its answers. Does no I/O and reads no clock."""

from collections import deque
from statistics import median
from typing import Final

ANSWERS: Final = 5
"""Latest answers whose median is used, so that one odd `Date` changes nothing."""

TOLERATED: Final = 30.0
"""Seconds below which our own clock is used: `Date` is exact to a second, and answers take a while."""


class ClockSkew:
    """Seconds by which Apple's clock is ahead; 0 until an answer was dated."""

    def __init__(self) -> None:
        self._seen: deque[float] = deque(maxlen=ANSWERS)
        self.seconds = 0.0

    @property
    def correction(self) -> float:
        """What to add to our clock to get the time by which tokens are dated."""
        return self.seconds if abs(self.seconds) > TOLERATED else 0.0

    def observe(self, date: float, now: float) -> None:
        """An answer was dated `date` when our clock showed `now` (both epoch seconds)."""
        # `Date` has its fraction of a second cut off.
        self._seen.append(date + 0.5 - now)
        self.seconds = median(self._seen)
