"""How many calls may be in flight: as many as Apple accepts, up to a bound. Pure; time is an argument.

The limit rises by one after as many answers as the limit, and falls on a 429, at most once in half a second:
calls that were in flight together are answered 429 together. If most answers are 429, it is halved, otherwise
it falls by a tenth.
"""

from typing import Final

DECREASE: Final = 0.9
"""A larger step would starve a busy gateway when a tenth of its calls are answered 429."""

HALVED: Final = 0.5
"""Factor if most answers are 429."""

DECREASE_INTERVAL: Final = 0.5


class AdaptiveLimit:
    """Additive increase, multiplicative decrease, between 1 and `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self._decreased_at = float("-inf")
        self._answered = self._refused = 0
        """Since the last decrease."""

    @property
    def current(self) -> int:
        return int(self._limit)

    def succeeded(self) -> None:
        """A call was answered, and not with 429."""
        self._answered += 1
        self._limit = min(float(self._most), self._limit + 1.0 / self._limit)

    def throttled(self, now: float) -> float | None:
        """Lower the limit after a 429, here or elsewhere, and return the factor; None if it stays."""
        self._refused += 1
        if now - self._decreased_at < DECREASE_INTERVAL:
            return None
        factor = HALVED if self._refused >= self._answered else DECREASE
        self._decreased_at = now
        self._answered = self._refused = 0
        self._limit = max(1.0, self._limit * factor)
        return factor
