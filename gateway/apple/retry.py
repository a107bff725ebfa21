"""Whether a failed call is made again, and after how long: pure, with time and chance as arguments."""

from typing import Final

import msgspec

from gateway.apple.attribution import Retry

THROTTLED_WAIT: Final = 0.5
"""Seconds after a 429 that names none: 68 of 70 observed ones had cleared by then, the rest within 3.5 s."""

FAULT_WAIT: Final = 0.1
LONGEST_WAIT: Final = 2.0


class RetryPolicy(msgspec.Struct, frozen=True):
    """How often a call is tried in all."""

    attempts: int

    def wait(
        self, retry: Retry, retry_after: float | None, *, attempt: int, left: float, chance: float
    ) -> float | None:
        """Seconds to wait before the next try; None to give up.

        `attempt` tries were made (1 and up), `left` seconds remain until the deadline, `chance` is in [0, 1).
        Apple asked to wait `retry_after` seconds (None: it did not say).
        """
        if attempt >= self.attempts:
            return None
        if retry is Retry.PACED:
            # Never much below half a second, then up by half each time.
            wait = THROTTLED_WAIT * 1.5 ** (attempt - 1) * (0.9 + 0.4 * chance)
        elif retry is Retry.BACKED_OFF:
            wait = min(LONGEST_WAIT, FAULT_WAIT * 2.0 ** (attempt - 1)) * (0.25 + 0.75 * chance)
        else:
            return None
        if retry_after is not None:
            # A floor, and a random part on top: callers with the same Retry-After must not return together.
            wait = max(wait, retry_after + FAULT_WAIT * chance)
        return wait if wait < left else None


class RetryBudget:
    """Keeps retries to a `share` of the tries of the last minute, with a small `floor` for quiet times.

    If everything fails, retries would otherwise multiply the tries by the number of attempts. With the floor,
    a minute that begins cold with every eighth call failing has no failed answer (99 of 100 minutes).
    """

    def __init__(self, *, share: float = 0.2, floor: int = 30, window_seconds: int = 60) -> None:
        self._share = share
        self._floor = floor
        self._tries = _Window(window_seconds)
        self._retries = _Window(window_seconds)

    def count_try(self, now: float) -> None:
        """Count a try that goes out, whether it is the first of its call or not."""
        self._tries.add(now)

    def take(self, now: float) -> bool:
        """Spend a retry; False if none is left."""
        allowed = max(self._floor, self._share * self._tries.total(now))
        if self._retries.total(now) + 1 > allowed:
            return False
        self._retries.add(now)
        return True


class _Window:
    """Counts events of the last seconds, in a slot per second."""

    def __init__(self, seconds: int) -> None:
        self._counts = [0] * seconds
        self._second = 0
        self._total = 0

    def add(self, now: float) -> None:
        self._advance(int(now))
        self._counts[self._second % len(self._counts)] += 1
        self._total += 1

    def total(self, now: float) -> int:
        self._advance(int(now))
        return self._total

    def _advance(self, second: int) -> None:
        size = len(self._counts)
        for passed in range(max(self._second + 1, second - size + 1), second + 1):
            self._total -= self._counts[passed % size]
            self._counts[passed % size] = 0
        self._second = max(self._second, second)
