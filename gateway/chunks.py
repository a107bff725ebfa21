"""Cuts a list into chunks."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def chunks(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """All `items` in order, `size` in each chunk but perhaps the last; none if there are no items."""
    return [items[start : start + size] for start in range(0, len(items), size)]
