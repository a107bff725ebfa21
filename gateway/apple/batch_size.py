"""How many ids go into one call, and what Apple's refusals teach about it: pure, time is an argument.

Apple documents no limit. A call that is refused as too large is halved until its fragments are answered. Two
causes look alike: a limit on the ids of one call, and one id that Apple refuses in every call. The halves
show which one it is:

- both halves were answered as they stood: the size was too large, and the size of the halves is remembered;
- a half was refused again: nothing is learnt here, but perhaps further down. Above a bad id one half is
  refused at every level, down to the id alone, so it never shrinks the remembered size.

A third cause is chance: Apple refuses for a moment, or one user's call only. So nothing is learnt at first if
a call of as many ids was answered lately, but the second time, if none was answered in between. And the size
shrinks in the proportion in which the call was divided: a refused call for two ids halves it at most.

A 5xx, or no answer in time, may be transient instead, and an answer that is larger than the gateway reads
depends on the other parameters. A size learnt from one of these holds for a minute only, and is at least a
quarter of the configured size, so that transient failures multiply the calls by four at most.
"""

from math import inf
from typing import Final

import msgspec

DOUBLING: Final = 60.0
"""Seconds after which a learnt size is doubled, as long as it is below the configured one."""

REMEMBERED: Final = 600.0
"""The same if Apple refuses a doubled size within as many seconds: there is a limit."""

FAULT_DIVISOR: Final = 4

LATELY: Final = 600.0
"""Seconds for which an answer shows that a call of so many ids is not too large."""


class AnsweredInFragments(msgspec.Struct, frozen=True):
    """A call, or a fragment of one, that failed, although each of its own fragments was answered."""

    began: float
    """When the undivided call began."""
    size: int
    """The batch size then."""
    whole: int
    """The ids of the undivided call."""
    ids: int
    """Those of the one that failed."""
    largest: int
    """Those of its largest fragment."""
    refused: bool
    """Whether Apple refused it, so that the failure was not transient."""


class BatchSize:
    """The most ids of one call: `most` as configured, less while Apple refuses that many."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._size = most
        self._grows_at = inf
        self._grew_at = -inf
        self._step = DOUBLING
        self._answered = 0
        """The most ids that were answered in one call, lately and since a doubt."""
        self._answered_at = -inf
        self._doubted_at = -inf
        """When a call failed though one of as many ids had been answered."""

    def current(self, now: float) -> int:
        """The size to use at `now` (monotonic seconds)."""
        while now >= self._grows_at:
            self._size = min(self.most, self._size * 2)
            self._grew_at = self._grows_at
            self._grows_at = self._grows_at + self._step if self._size < self.most else inf
        return self._size

    def answered(self, ids: int, now: float) -> None:
        """A call for so many ids was answered."""
        if ids >= self._answered or now >= self._answered_at + LATELY:
            self._answered, self._answered_at = ids, now

    def of_fragments(self, shown: AnsweredInFragments) -> int:
        """Return the most ids for further fragments of the same call."""
        return max(shown.largest, 1 if shown.refused else self._smallest_after_fault())

    def learn(self, shown: AnsweredInFragments, now: float) -> int:
        """Shrink the size, unless the failure may have been chance.

        Returns the most ids for further calls of the same request: half of the size if it may be chance. A
        call for so many that fails too began later, and shows that it is not.
        """
        if shown.ids <= self._answered and now < self._answered_at + LATELY:
            self._answered, self._doubted_at = 0, now
        elif shown.began > self._doubted_at:  # else it failed together with the one in doubt
            size = -(-shown.size * shown.largest // shown.whole)
            self._shrink(size if shown.refused else max(size, self._smallest_after_fault()), shown, now)
            return self.of_fragments(shown)
        return max(self.of_fragments(shown), -(-shown.size // 2))

    def _smallest_after_fault(self) -> int:
        return -(-self.most // FAULT_DIVISOR)

    def _shrink(self, size: int, shown: AnsweredInFragments, now: float) -> None:
        if size >= self.current(now):
            return
        self._size = size
        limited = shown.refused and now < self._grew_at + REMEMBERED
        self._step = REMEMBERED if limited else DOUBLING
        self._grows_at = now + self._step
