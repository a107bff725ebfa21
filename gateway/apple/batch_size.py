"""How many ids go into one call, and what Apple's refusals teach about it: pure, time is an argument.

Apple documents no limit. A call that is refused as too large is halved until its fragments are answered. Two
causes look alike: a limit on the ids of one call, and one id that Apple refuses in every call. The halves
show which one it is:

- both halves were answered as they stood: the size was too large, and the size of the halves is remembered;
- a half was refused again: nothing is learnt here, but perhaps further down. Above a bad id one half is
  refused at every level, down to the id alone, so it never shrinks the remembered size.

A 5xx, or no answer in time, may be transient instead, and an answer that is larger than the gateway reads
depends on the other parameters. A size learnt from one of these holds for a minute only, and is at least a
quarter of the configured size, so that transient failures multiply the calls by four at most.
"""

from typing import Final

REMEMBERED: Final = 600.0
"""Seconds after which a learnt size is doubled again, as long as it is below the configured one."""

FAULT_REMEMBERED: Final = 60.0
"""The same for a size learnt from a 5xx, no answer in time, or an answer too large."""

FAULT_DIVISOR: Final = 4


class BatchSize:
    """The most ids of one call: `most` as configured, less while Apple refuses that many."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = most
        self._grows_at = float("inf")
        self._step = REMEMBERED

    def current(self, now: float) -> int:
        """The size to use at `now` (monotonic seconds)."""
        while now >= self._grows_at:
            self._size = min(self._most, self._size * 2)
            self._grows_at = self._grows_at + self._step if self._size < self._most else float("inf")
        return self._size

    def learn(self, size: int, now: float, *, refused: bool) -> None:
        """A call of more ids failed, and then its halves, of at most `size` ids, were answered.

        `refused`: Apple refused it, so the failure was not transient.
        """
        floor = 1 if refused else -(-self._most // FAULT_DIVISOR)
        if max(size, floor) < self.current(now):
            self._size = max(size, floor)
            self._step = REMEMBERED if refused else FAULT_REMEMBERED
            self._grows_at = now + self._step
