"""Limits the calls in flight, and decides which is next.

`SlotQueue` decides and never waits: calls ask for a slot, are granted one at once or later, and give it back.
`ConcurrencyLimiter` does the waiting. The rules:
- The limit adapts: up by one for every limit's worth of answers, down on a 429, at most once in half a
  second, because calls that were under way together are answered 429 together. If most answers are 429,
  Apple accepts nothing more for now: the limit is halved, and no call begins for about half a second. Else it
  is lowered by a tenth, and only the refused call waits.
- Foreground before background, and background calls hold at most a quarter of the limit.
- Requesters of one priority take turns, and one that holds a quarter of the limit waits while another may go.
- A call for several requesters waits in the queue of each, and counts for the one whose turn came.
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
"""Seconds, within a fifth: 68 of 70 observed 429s had cleared by then."""

DECREASE_INTERVAL: Final = 0.5
SHARE: Final = 4
"""A requester with a quarter (1 / SHARE) of the limit in flight yields to others; all background calls
together never hold more than that."""

LONGEST_QUEUE: Final = 2048
"""Calls waiting at most; background ones may fill half of it. As many again may wait of requests that have
no other call waiting, so that large requests cannot shut out small ones."""


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
        """A call was answered 429, here or elsewhere: the factor that lowers the limit, if any."""
        self._refused += 1
        if now - self._decreased_at < DECREASE_INTERVAL:
            return None
        factor = HALVED if self._refused >= self._answered else DECREASE
        self._decreased_at = now
        self._answered = self._refused = 0
        self._limit = max(1.0, self._limit * factor)
        return factor


class Slot:
    """One call's places in the queue, then its slot."""

    __slots__ = ("background", "holder", "lines", "on_grant", "waiters")

    def __init__(self, waiters: Waiters, on_grant: Callable[[], None]) -> None:
        self.waiters = waiters
        self.on_grant = on_grant
        self.holder: Requester | None = None
        """The requester that it counts for; None while it waits."""
        self.background = False
        self.lines: list[tuple[Priority, Requester]] = []


class SlotQueue:
    """The synchronous core: which calls are under way, which wait, which is next."""

    def __init__(self, limit: AdaptiveLimit, *, longest_queue: int = LONGEST_QUEUE) -> None:
        self._limit = limit
        self._longest = longest_queue
        self._waiting = 0
        self._held: dict[Requester, int] = {}
        # Requesters take turns in this order: the one that got a slot goes to the end.
        self._lanes: dict[Priority, OrderedDict[Requester, OrderedDict[Slot, None]]] = {
            priority: OrderedDict() for priority in (Priority.FOREGROUND, Priority.BACKGROUND)
        }
        self.in_flight = 0
        self._background = 0
        """Calls in flight that were granted as background calls."""
        self.paused = False
        """While True, no call is granted a slot."""

    def ask(self, waiters: Waiters, on_grant: Callable[[], None]) -> Slot:
        """Queue a call; `on_grant` is called when it gets its slot, perhaps before this returns.

        Raises `NoCapacity` if the queue is full.
        """
        if self._waiting >= self._room(waiters):
            raise NoCapacity("Too many calls are waiting for Apple Music.", retry_after=1.0)
        slot = Slot(waiters, on_grant)
        self._waiting += 1
        self.requeue(slot)
        return slot

    def requeue(self, slot: Slot) -> None:
        """Queue the call for every requester that waits for it; places that it already has are kept."""
        if slot.holder is not None:
            return
        self._stand(slot, [(slot.waiters.priority, requester) for requester in slot.waiters.requesters])
        self.admit()

    def give_back(self, slot: Slot) -> None:
        """The call is over, or no longer waits for its slot."""
        if slot.holder is None:
            self._stand(slot, [])
            self._waiting -= 1
        else:
            self.in_flight -= 1
            self._background -= slot.background
            self._held[slot.holder] -= 1
            if not self._held[slot.holder]:
                del self._held[slot.holder]
        self.admit()

    def admit(self) -> None:
        """Grant the free slots to the calls that are next."""
        while not self.paused and self.in_flight < self._limit.current and (head := self._next()) is not None:
            priority, requester = head
            slot = next(iter(self._lanes[priority][requester]))
            self._stand(slot, [])
            if requester in self._lanes[priority]:
                self._lanes[priority].move_to_end(requester)
            slot.holder = requester
            slot.background = priority is Priority.BACKGROUND
            self._background += slot.background
            self._held[requester] = self._held.get(requester, 0) + 1
            self._waiting -= 1
            self.in_flight += 1
            slot.on_grant()

    def _next(self) -> tuple[Priority, Requester] | None:
        share = max(1, self._limit.current // SHARE)
        for priority, requesters in self._lanes.items():
            if priority is Priority.BACKGROUND and self._background >= share:
                return None
            for requester in requesters:
                if self._held.get(requester, 0) < share:
                    return priority, requester
            if requesters:
                return priority, min(requesters, key=self._held.__getitem__)
        return None

    def _room(self, waiters: Waiters) -> int:
        """How many calls may wait at most for another one to join them."""
        if waiters.priority is Priority.BACKGROUND:
            return self._longest // 2
        waiting = self._lanes[waiters.priority]
        return (
            self._longest
            if all(requester in waiting for requester in waiters.requesters)
            else 2 * self._longest
        )

    def _stand(self, slot: Slot, lines: list[tuple[Priority, Requester]]) -> None:
        for priority, requester in lines:
            self._lanes[priority].setdefault(requester, OrderedDict()).setdefault(slot)
        kept = set(lines)
        for priority, requester in slot.lines:
            if (priority, requester) not in kept:
                line = self._lanes[priority][requester]
                del line[slot]
                if not line:
                    del self._lanes[priority][requester]
        slot.lines = lines


def call_later(seconds: float, run: Callable[[], None]) -> object:
    """Run a function after some seconds of the running loop."""
    return asyncio.get_running_loop().call_later(seconds, run)


class ConcurrencyLimiter:
    """Grants slots as they come free; every call to Apple for a request takes one.

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
        self._show()

    @asynccontextmanager
    async def slot(self, waiters: Waiters, deadline: float) -> AsyncIterator[None]:
        """Wait for a slot until `deadline` (monotonic seconds), then hold it.

        Raises `NoCapacity` if the queue is full, `DeadlineExceeded` if no slot came free in time.
        """
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def grant() -> None:
            # A call that was cancelled in this very step gives the slot back on its way out.
            if not granted.done():
                granted.set_result(None)

        asked = self._now()
        slot = self._slots.ask(waiters, grant)
        try:
            if slot.holder is None:
                await self._stand_by(slot, granted, deadline)
            self._metrics.upstream_queue.observe(self._now() - asked)
            self._show()
            yield
        finally:
            self._slots.give_back(slot)
            self._show()

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
        self._show()
        return factor is not None

    def _resume(self) -> None:
        self._slots.paused = False
        self._slots.admit()
        self._show()

    async def _stand_by(self, slot: Slot, granted: asyncio.Future[None], deadline: float) -> None:
        def changed() -> None:
            self._slots.requeue(slot)

        slot.waiters.watch(changed)
        try:
            async with asyncio.timeout(deadline - self._now()):
                await granted
        except TimeoutError:
            raise DeadlineExceeded("No call to Apple Music came free in time.") from None
        finally:
            slot.waiters.unwatch(changed)

    def _show(self) -> None:
        self._metrics.upstream_in_flight.set(self._slots.in_flight)
        self._metrics.upstream_concurrency_limit.set(self._limit.current)
