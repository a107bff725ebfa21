"""An event loop whose time jumps to the next timer when nothing is left to do: a minute passes in a second.

Sockets are real; time stops while bytes are in transit between them.
"""

import asyncio
import selectors
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar

from gateway.sandbox import Sandbox
from tests.e2e.harness import Caller, ShiftedClock, gateway_on

T = TypeVar("T")

FAR = 0.5
"""Seconds of a jump before which the sockets are checked several times: bytes may still be in the kernel, and
a timeout must not end before they arrive."""
LOOKS = 10
LOOK_SECONDS = 0.0002

EPOCH = 1_800_000_000.0


class _Jumping(selectors.DefaultSelector):
    """Instead of waiting for a timer, advances the loop's time to it."""

    jumped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout is None or timeout <= 0:
            return ready if ready or timeout is not None else super().select(None)
        silent = len(self.get_map()) == 1  # nothing but the loop's own pipe
        for _ in range(0 if silent else LOOKS if timeout > FAR else 1):
            time.sleep(LOOK_SECONDS)
            if ready := super().select(0):
                return ready
        self.jumped += timeout
        return []


class JumpingLoop(asyncio.SelectorEventLoop):
    """`time()` begins at 1000 and moves by jumps alone."""

    def __init__(self) -> None:
        self._selecting = _Jumping()
        super().__init__(self._selecting)

    def time(self) -> float:
        return 1000.0 + self._selecting.jumped


class LoopClock(ShiftedClock):
    """The running loop's time, as all clocks of a gateway and its sandbox."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() + self.shift

    def time(self) -> float:
        return EPOCH + self.monotonic()


class Scene(NamedTuple):
    """A gateway on a sandbox, both in jumping time."""

    caller: Caller
    sandbox: Sandbox

    @property
    def now(self) -> float:
        return self.caller.clock.monotonic()


@asynccontextmanager
async def scene(*, seed: int = 0, **settings: object) -> AsyncIterator[Scene]:
    """`seed` fixes the sandbox's chance."""
    clock = LoopClock()
    async with Sandbox(seed=seed, clock=clock) as sandbox, gateway_on(sandbox, clock, **settings) as caller:
        yield Scene(caller, sandbox)


def play(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` in jumping time."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(work)
