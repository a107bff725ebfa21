"""Medians, percentiles, spreads and ratios. Pure."""

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec

Item = TypeVar("Item")


class Spread(msgspec.Struct, frozen=True):
    """A median, and the least and the greatest value beside it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Raises `ValueError` where there is no value."""
        kept = sorted(values)
        if not kept:
            raise ValueError("no values")
        return cls(statistics.median(kept), kept[0], kept[-1])


def percentile(values: Sequence[float], share: float) -> float:
    """The least value that at least `share` (0 to 1) of `values` do not exceed. Raises `ValueError`."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def paired(of: Sequence[float], to: Sequence[float]) -> Spread:
    """`of / to` round by round: what slows both in one round does not move the ratio."""
    return Spread.of(one / other for one, other in zip(of, to, strict=True))


def rotated(items: Sequence[Item], round_: int) -> list[Item]:
    """The order of a round: each one begins with another item, so that none always follows the same."""
    shift = round_ % len(items) if items else 0
    return [*items[shift:], *items[:shift]]
