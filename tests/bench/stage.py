"""What all parts of a run share: the machine, the versions to compare, and how figures are made."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import msgspec

from tests.bench.contenders import Checkout
from tests.bench.machine import Machine
from tests.bench.results import Bound, Figure
from tests.bench.stats import Spread, paired

NOW = "this version"


class Stage(msgspec.Struct, frozen=True):
    """`checkouts` begins with this version; a second one is what it is compared with."""

    machine: Machine
    checkouts: Sequence[Checkout]
    full: bool
    progress: Callable[[str], None]

    def rounds(self, quick: int) -> int:
        """How many rounds to measure, where a quick run takes `quick`."""
        return quick * 2 if self.full else quick


class Samples:
    """Values by what was measured and by version, one for each round."""

    def __init__(self, part: str, checkouts: Sequence[Checkout]) -> None:
        self._part = part
        self._names = [checkout.name for checkout in checkouts]
        self._values: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def add(self, what: str, version: str, value: float) -> None:
        self._values[what][version].append(value)

    def figures(self, bounds: Mapping[str, Bound], *, decimals: int = 2) -> list[Figure]:
        """What was added, in that order, with the bounds that apply."""
        return [
            Figure(
                self._part,
                what,
                now=Spread.of(values[self._names[0]]),
                before=Spread.of(values[self._names[-1]]) if len(values) > 1 else None,
                bound=bounds.get(what),
                decimals=decimals,
            )
            for what, values in self._values.items()
        ]

    def compared(self, what: str, name: str, bounds: Mapping[str, Bound]) -> list[Figure]:
        """This version's values of `what` divided by the other's, round by round; empty without another."""
        if len(self._names) < 2:
            return []
        now, before = (self._values[what][version] for version in self._names)
        return [Figure(self._part, name, now=paired(now, before), bound=bounds.get(name))]
