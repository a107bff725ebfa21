"""Runs a coroutine that mostly waits once: from its first step on, and without a task.

A task is begun by one turn of the event loop and ended by another, and whoever awaits it needs a third. Here
the first step is made by whoever starts the work, and each other by the future that it waits for.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Eager(Generic[T]):
    """Work under way; `ended` is called once, with what it returns or None where it was cancelled.

    The work may await futures only (no timeouts, which need a task), and must not raise. Nobody can cancel
    it; the futures that it waits for can be.
    """

    __slots__ = ("_ended", "_work")

    def __init__(self, work: Coroutine[Any, Any, T], ended: Callable[[T | None], None]) -> None:
        self._work = work
        self._ended = ended
        self._step()

    def _step(self, _: object = None) -> None:
        try:
            future: asyncio.Future[Any] = self._work.send(None)
        except StopIteration as end:
            self._ended(end.value)
        except asyncio.CancelledError:
            self._ended(None)
        else:
            # The protocol between a future and whoever drives the coroutine that awaits it.
            future._asyncio_future_blocking = False  # noqa: SLF001
            future.add_done_callback(self._step)
