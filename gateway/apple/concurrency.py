"""Limits the calls in flight: waits for slots on behalf of calls, and slows down when Apple answers 429.

`AdaptiveLimit` says how many there are, `SlotQueue` which call is next. If most answers are 429, Apple
accepts no calls for now: no call begins for about half a second. Otherwise only the refused call waits.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from gateway.apple.adaptive_limit import HALVED, AdaptiveLimit
from gateway.apple.slot_queue import QueuedCall, SlotQueue
from gateway.clock import Clock
from gateway.errors import DeadlineExceeded
from gateway.telemetry.metrics import Metrics
from gateway.waiters import Waiters

PAUSE: Final = 0.5
"""Seconds without new calls, give or take a tenth: 68 of 70 observed 429s had cleared by then."""


def call_later(seconds: float, run: Callable[[], None]) -> object:
    """Run a function after some seconds of the running loop."""
    return asyncio.get_running_loop().call_later(seconds, run)


class ConcurrencyLimiter:
    """Waits for slots on behalf of calls. Every try of a call that is made for a request takes one.

    `on_throttled` is called when a 429 lowers the limit, with the seconds that Apple asked to wait (0 if
    it named none), so that other gateways lower theirs: see `throttled_elsewhere`. `later` runs a function
    after some seconds.
    """

    def __init__(
        self,
        *,
        max_concurrency: int,
        clock: Clock,
        metrics: Metrics,
        on_throttled: Callable[[float], None],
        chance: Callable[[], float] = random.random,
        later: Callable[[float, Callable[[], None]], object] = call_later,
    ) -> None:
        self._limit = AdaptiveLimit(max_concurrency)
        self._slots = SlotQueue(self._limit)
        self._now = clock.monotonic
        self._on_throttled = on_throttled
        self._metrics = metrics
        self._chance = chance
        self._later = later
        metrics.upstream_in_flight.set_function(lambda: self.in_flight)
        metrics.upstream_concurrency_limit.set_function(lambda: self.limit)

    @property
    def in_flight(self) -> int:
        """Calls that hold a slot."""
        return self._slots.in_flight

    @property
    def limit(self) -> int:
        """How many calls may hold a slot now."""
        return self._limit.current

    @asynccontextmanager
    async def slot(self, user: bytes, waiters: Waiters, deadline: float) -> AsyncIterator[None]:
        """Wait for a slot for a call of the user with this key until `deadline`, then hold it.

        Raises `NoCapacity` if the queue is full, `DeadlineExceeded` if no slot became free in time.
        """
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def grant() -> None:
            # A call that was cancelled in the same step gives the slot back in `finally`.
            if not granted.done():
                granted.set_result(None)

        asked = self._now()
        call = self._slots.ask(user, waiters, grant)
        try:
            if call.holder is None:
                await self._wait(call, granted, deadline)
            self._metrics.upstream_queue.observe(self._now() - asked)
            yield
        finally:
            self._slots.give_back(call)

    def succeeded(self) -> None:
        """A call was answered, and not with 429."""
        self._limit.succeeded()

    def throttled(self, retry_after: float | None) -> None:
        """A call was answered 429."""
        self._metrics.upstream_throttled.inc()
        if self._lower():
            self._on_throttled(retry_after or 0.0)

    def throttled_elsewhere(self) -> None:
        """Another gateway of the same company was answered 429: they share Apple's budget."""
        self._lower()

    def _lower(self) -> bool:
        factor = self._limit.throttled(self._now())
        if factor == HALVED and not self._slots.paused:
            self._slots.paused = True
            self._later(PAUSE * (0.9 + 0.2 * self._chance()), self._resume)
        return factor is not None

    def _resume(self) -> None:
        self._slots.paused = False
        self._slots.admit()

    async def _wait(self, call: QueuedCall, granted: asyncio.Future[None], deadline: float) -> None:
        def changed() -> None:
            self._slots.requeue(call)

        call.waiters.watch(changed)
        try:
            async with asyncio.timeout(deadline - self._now()):
                await granted
        except TimeoutError:
            raise DeadlineExceeded("No slot for a call to Apple Music became free in time.") from None
        finally:
            call.waiters.unwatch(changed)
