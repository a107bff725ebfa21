"""How many calls may be under way at once, and whose slot is next.

`SlotQueue` decides and never waits: calls ask for a slot, are granted one at once or later, and give it back.
`ConcurrencyLimiter` does the waiting. The rules:
- The limit adapts: up by one for every limit's worth of successes, down by a tenth on a 429, at most
  once in half a second, because calls that were under way together are answered 429 together.
- Foreground before background.
- In a lane the parties take turns, and one that holds a quarter of the limit waits while another may go.
- A call that several parties want waits in the line of each, and goes on the account of whoever is next.
"""

import asyncio
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
"""With much more, a tenth of 429s, whatever calls are under way, would starve a busy gateway."""

DECREASE_INTERVAL: Final = 0.5
SHARE: Final = 4
"""While a party holds one part in so many of the limit, others go first."""

LONGEST_QUEUE: Final = 2048
"""Calls waiting at most; background ones may fill half of it. As many again may wait of requests that have
no other call waiting, so that large requests, however many, shut nobody out."""


class AdaptiveLimit:
    """Additive increase, multiplicative decrease, between 1 and `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self._decreased_at = float("-inf")

    @property
    def current(self) -> int:
        return int(self._limit)

    def succeeded(self) -> None:
        self._limit = min(float(self._most), self._limit + 1.0 / self._limit)

    def throttled(self, now: float) -> bool:
        """A 429 was heard, here or by another gateway; whether that lowers the limit."""
        if now - self._decreased_at < DECREASE_INTERVAL:
            return False
        self._decreased_at = now
        self._limit = max(1.0, self._limit * DECREASE)
        return True


class Slot:
    """One call's places in the queue, then its slot."""

    __slots__ = ("holder", "lines", "on_grant", "waiters")

    def __init__(self, waiters: Waiters, on_grant: Callable[[], None]) -> None:
        self.waiters = waiters
        self.on_grant = on_grant
        self.holder: Requester | None = None
        """On whose account it goes; None while it waits."""
        self.lines: list[tuple[Priority, Requester]] = []


class SlotQueue:
    """The synchronous core: who is under way, who waits, who is next."""

    def __init__(self, limit: AdaptiveLimit, *, longest_queue: int = LONGEST_QUEUE) -> None:
        self._limit = limit
        self._longest = longest_queue
        self._waiting = 0
        self._held: dict[Requester, int] = {}
        # Parties take turns in the order of these: whoever got a slot goes to the end.
        self._lanes: dict[Priority, OrderedDict[Requester, OrderedDict[Slot, None]]] = {
            priority: OrderedDict() for priority in (Priority.FOREGROUND, Priority.BACKGROUND)
        }
        self.in_flight = 0

    def ask(self, waiters: Waiters, on_grant: Callable[[], None]) -> Slot:
        """Queue a call; `on_grant` is called when it gets its slot, perhaps before this returns.

        Raises `NoCapacity` where the queue is full.
        """
        if self._waiting >= self._room(waiters):
            raise NoCapacity("Too many calls are waiting for Apple Music.", retry_after=1.0)
        slot = Slot(waiters, on_grant)
        self._waiting += 1
        self.requeue(slot)
        return slot

    def requeue(self, slot: Slot) -> None:
        """Stand in line wherever the slot's waiters says; places that it has already are kept."""
        if slot.holder is not None:
            return
        self._stand(slot, [(slot.waiters.priority, requester) for requester in slot.waiters.requesters])
        self.admit()

    def give_back(self, slot: Slot) -> None:
        """The call is over, or nobody waits for its slot any more."""
        if slot.holder is None:
            self._stand(slot, [])
            self._waiting -= 1
        else:
            self.in_flight -= 1
            self._held[slot.holder] -= 1
            if not self._held[slot.holder]:
                del self._held[slot.holder]
        self.admit()

    def admit(self) -> None:
        """Grant the free slots to whoever is next."""
        while self.in_flight < self._limit.current and (head := self._next()) is not None:
            priority, requester = head
            slot = next(iter(self._lanes[priority][requester]))
            self._stand(slot, [])
            if requester in self._lanes[priority]:
                self._lanes[priority].move_to_end(requester)
            slot.holder = requester
            self._held[requester] = self._held.get(requester, 0) + 1
            self._waiting -= 1
            self.in_flight += 1
            slot.on_grant()

    def _next(self) -> tuple[Priority, Requester] | None:
        share = max(1, self._limit.current // SHARE)
        for priority, requesters in self._lanes.items():
            for requester in requesters:
                if self._held.get(requester, 0) < share:
                    return priority, requester
            if requesters:
                return priority, min(requesters, key=self._held.__getitem__)
        return None

    def _room(self, waiters: Waiters) -> int:
        """How many calls may wait for one of this waiters to join them."""
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
        for priority, requester in slot.lines:
            if (priority, requester) not in lines:
                line = self._lanes[priority][requester]
                del line[slot]
                if not line:
                    del self._lanes[priority][requester]
        slot.lines = lines


class ConcurrencyLimiter:
    """Lets calls through as slots come free; every call to Apple goes through one limiter.

    `on_throttled` is told when a 429 heard here lowers the limit, with the seconds that Apple asked to wait
    (0 where it named none), so that other gateways may hear of it: see `hear_throttled`.
    """

    def __init__(
        self,
        *,
        max_concurrency: int,
        clock: Clock,
        metrics: Metrics,
        on_throttled: Callable[[float], None],
    ) -> None:
        self._limit = AdaptiveLimit(max_concurrency)
        self._slots = SlotQueue(self._limit)
        self._now = clock.monotonic
        self._on_throttled = on_throttled
        self._metrics = metrics
        self._show()

    @asynccontextmanager
    async def slot(self, waiters: Waiters, deadline: float) -> AsyncIterator[None]:
        """Wait for a slot until `deadline` (monotonic seconds), then hold it.

        Raises `NoCapacity` where the queue is full, `DeadlineExceeded` where no slot came free in time.
        """
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def grant() -> None:
            # Whoever was cancelled in this very step gives the slot back on its way out.
            if not granted.done():
                granted.set_result(None)

        slot = self._slots.ask(waiters, grant)
        try:
            if slot.holder is None:
                await self._stand_by(slot, granted, deadline)
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
        if self._limit.throttled(self._now()):
            self._show()
            self._on_throttled(retry_after or 0.0)

    def hear_throttled(self) -> None:
        """Another gateway of the same company was answered 429: the budget is one."""
        self._limit.throttled(self._now())
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
