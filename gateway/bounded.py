"""Keeps a memory within a bound."""

from collections import OrderedDict
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def keep_latest(kept: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    """Set the value of `key`, and drop the one that was set longest ago if there are more than `most`."""
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > most:
        kept.popitem(last=False)
