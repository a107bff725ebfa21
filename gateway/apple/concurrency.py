"""Limits the calls in flight, and decides which is next.

`SlotQueue` decides without waiting: a call asks for a slot, gets it at once or later, and gives it back.
`ConcurrencyLimiter` waits for the grant. The rules:
- The limit adapts. It rises by one after as many answers as the limit, and falls on a 429, at most once in
  half a second: calls that were in flight together are answered 429 together. If most answers are 429, Apple
  accepts no calls for now: the limit is halved, and no call begins for about half a second. Otherwise the
  limit falls by a tenth, and only the refused call waits.
- Foreground calls go before background calls. Background calls hold at most a quarter of the limit.
- Requesters of one priority take turns. One that holds a quarter of the limit yields while others wait.
- A call that several requesters need waits in the queue of each. It counts for the one whose turn came.
"""

import asyncio
import random
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from gateway.clock import Clock
from gateway.errors import DeadlineExceeded, NoCapacity
from gateway.model import Priority
from gateway.telemetry.metrics import Metrics
from gateway.waiters import Requester, Waiters

DECREASE: Final = 0.9
"""A larger step would starve a busy gateway when a tenth of its calls are answered 429."""

HALVED: Final = 0.5
"""Factor if most answers are 429."""

PAUSE: Final = 0.5
"""Seconds without new calls, give or take a tenth: 68 of 70 observed 429s had cleared by then."""

DECREASE_INTERVAL: Final = 0.5
SHARE: Final = 4
"""A requester that holds a quarter (1 / SHARE) of the limit yields to others. All background calls together
never hold more."""

LONGEST_QUEUE: Final = 2048
"""The most calls that wait. Background calls may fill half of the queue. A request without a call in the
queue may still add one while fewer than twice as many wait: large requests cannot shut out small ones."""


class AdaptiveLimit:
    """Additive increase, multiplicative decrease, between 1 and `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self._decreased_at = float("-inf")
        self._answered = self._refused = 0
        """Since the last decrease."""

    @property
    def current(self) -> int:
        return int(self._limit)

    def succeeded(self) -> None:
        """A call was answered, and not with 429."""
        self._answered += 1
        self._limit = min(float(self._most), self._limit + 1.0 / self._limit)

    def throttled(self, now: float) -> float | None:
        """Lower the limit after a 429, here or elsewhere, and return the factor; None if it stays."""
        self._refused += 1
        if now - self._decreased_at < DECREASE_INTERVAL:
            return None
        factor = HALVED if self._refused >= self._answered else DECREASE
        self._decreased_at = now
        self._answered = self._refused = 0
        self._limit = max(1.0, self._limit * factor)
        return factor


class QueuedCall:
    """A call that waits for a slot, and then holds it: see `holder`."""

    __slots__ = ("background", "holder", "on_grant", "places", "waiters")

    def __init__(self, waiters: Waiters, on_grant: Callable[[], None]) -> None:
        self.waiters = waiters
        self.on_grant = on_grant
        self.holder: Requester | None = None
        """The requester that its slot counts for; None while it waits."""
        self.background = False
        """Whether it was granted its slot as a background call."""
        self.places: list[Requester] = []
        """The requesters in whose queues it waits."""


class SlotQueue:
    """The synchronous core: which calls are in flight, which wait, and which is next."""

    def __init__(self, limit: AdaptiveLimit, *, longest_queue: int = LONGEST_QUEUE) -> None:
        self._limit = limit
        self._longest = longest_queue
        self._waiting = 0
        self._taken: dict[Requester, int] = {}
        """Slots taken by each requester."""
        # Requesters take turns in this order: the one that got a slot goes to the end.
        self._queues: dict[Priority, OrderedDict[Requester, OrderedDict[QueuedCall, None]]] = {
            priority: OrderedDict() for priority in (Priority.FOREGROUND, Priority.BACKGROUND)
        }
        self.in_flight = 0
        self._background = 0
        """Calls in flight that were granted a slot as background calls."""
        self.paused = False
        """While True, no call is granted a slot."""

    def ask(self, waiters: Waiters, on_grant: Callable[[], None]) -> QueuedCall:
        """Queue a call; `on_grant` is called when it gets its slot, perhaps before this returns.

        Raises `NoCapacity` if the queue is full.
        """
        if self._waiting >= self._room(waiters):
            raise NoCapacity("Too many calls are waiting for Apple Music.", retry_after=1.0)
        call = QueuedCall(waiters, on_grant)
        self._waiting += 1
        self.requeue(call)
        return call

    def requeue(self, call: QueuedCall) -> None:
        """Queue the call for every requester that needs it by now; it keeps the places that it has."""
        if call.holder is not None:
            return
        self._put(call, list(call.waiters.requesters))
        self.admit()

    def give_back(self, call: QueuedCall) -> None:
        """Release the slot of a call that ended, or remove a call that no longer waits from the queue."""
        if call.holder is None:
            self._put(call, [])
            self._waiting -= 1
        else:
            self.in_flight -= 1
            self._background -= call.background
            self._taken[call.holder] -= 1
            if not self._taken[call.holder]:
                del self._taken[call.holder]
        self.admit()

    def admit(self) -> None:
        """Grant free slots to the calls whose turn it is."""
        while (
            not self.paused
            and self.in_flight < self._limit.current
            and (requester := self._next()) is not None
        ):
            queues = self._queues[requester.priority]
            call = next(iter(queues[requester]))
            self._put(call, [])
            if requester in queues:
                queues.move_to_end(requester)
            call.holder = requester
            call.background = requester.priority is Priority.BACKGROUND
            self._background += call.background
            self._taken[requester] = self._taken.get(requester, 0) + 1
            self._waiting -= 1
            self.in_flight += 1
            call.on_grant()

    def _next(self) -> Requester | None:
        share = max(1, self._limit.current // SHARE)
        for priority, requesters in self._queues.items():
            if priority is Priority.BACKGROUND and self._background >= share:
                return None
            for requester in requesters:
                if self._taken.get(requester, 0) < share:
                    return requester
            if requesters:
                return min(requesters, key=self._taken.__getitem__)
        return None

    def _room(self, waiters: Waiters) -> int:
        """The number of waiting calls at which the queue is full for a call of these requests."""
        if waiters.priority is Priority.BACKGROUND:
            return self._longest // 2
        waiting = self._queues[waiters.priority]
        have_calls = all(requester in waiting for requester in waiters.requesters)
        return self._longest if have_calls else 2 * self._longest

    def _put(self, call: QueuedCall, places: list[Requester]) -> None:
        """Have the call wait in the queues of these requesters, and in no others."""
        for requester in places:
            self._queues[requester.priority].setdefault(requester, OrderedDict()).setdefault(call)
        kept = set(places)
        for requester in call.places:
            if requester not in kept:
                queues = self._queues[requester.priority]
                del queues[requester][call]
                if not queues[requester]:
                    del queues[requester]
        call.places = places


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
    async def slot(self, waiters: Waiters, deadline: float) -> AsyncIterator[None]:
        """Wait for a slot until `deadline` (monotonic seconds), then hold it.

        Raises `NoCapacity` if the queue is full, `DeadlineExceeded` if no slot became free in time.
        """
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def grant() -> None:
            # A call that was cancelled in the same step gives the slot back in `finally`.
            if not granted.done():
                granted.set_result(None)

        asked = self._now()
        call = self._slots.ask(waiters, grant)
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
