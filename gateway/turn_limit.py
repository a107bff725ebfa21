"""Limits work of one kind in a turn of the event loop, so that other work goes on in between."""

import asyncio
from collections.abc import Callable


class TurnLimit:
    """Counts pieces of work, up to `most` in one turn; `on_turn` is called when the next turn begins.

    The owner asks `reached` before a piece of work, and decides what waits.
    """

    def __init__(self, most: int, on_turn: Callable[[], None] = lambda: None) -> None:
        self._most = most
        self._on_turn = on_turn
        self._counted = 0

    @property
    def reached(self) -> bool:
        return self._counted >= self._most

    def count(self) -> None:
        """Count a piece of work in this turn; may go beyond the limit."""
        if not self._counted:
            asyncio.get_running_loop().call_soon(self._begin_turn)
        self._counted += 1

    def _begin_turn(self) -> None:
        self._counted = 0
        self._on_turn()
