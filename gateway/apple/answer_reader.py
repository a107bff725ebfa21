"""Reads Apple's answers without blocking the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Self, TypeVar

from gateway.apple.response import AppleResponse
from gateway.turn_limit import TurnLimit

T = TypeVar("T")

LARGE_BODY: Final = 64 * 1024
"""Larger answers (bytes) are parsed in a thread; parsing one of this size takes a few milliseconds."""

PER_TURN: Final = 4
"""Smaller answers that are read in one turn of the event loop: those of a large request arrive together."""


class AnswerReader:
    """Paces the reading of answers; a context manager."""

    def __init__(self) -> None:
        # One thread: several would leave the event loop less of the interpreter.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="parse")
        self._turn = TurnLimit(PER_TURN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(wait=False)

    async def read(self, how: Callable[[AppleResponse], T], answer: AppleResponse) -> T:
        """Return `how(answer)`, with other work before it if the turn is used up."""
        if len(answer.body) > LARGE_BODY:
            return await asyncio.get_running_loop().run_in_executor(self._thread, how, answer)
        while self._turn.reached:  # noqa: ASYNC110 - a turn ends by itself, and nothing announces it
            await asyncio.sleep(0)
        self._turn.count()
        return how(answer)
