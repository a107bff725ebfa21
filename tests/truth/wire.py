"""The connection of a gateway to Redis, which can be slow, stuck or cut, and its lossy subscription."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from gateway.cache.invalidation import Continuity, Invalidation
from gateway.cache.redis.errors import FailureKind, RedisFailed

T = TypeVar("T")

LOOKUP_SECONDS = 0.05
WRITE_SECONDS = 1.0
LOST_SECONDS = 5.0
"""Seconds after which a stuck request is lost with its connection."""
BEAT_SECONDS = 0.25

Stuck = Literal["requests", "replies"]


class Crossing:
    """A request on a stuck connection."""

    def __init__(self, work: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> None:
        self._work: Callable[[], Any] | None = work
        self._loop = loop
        self._sent_at = loop.time()
        self._reply: Any = None
        self.answer: asyncio.Future[Any] = loop.create_future()

    def reach(self) -> None:
        """Let Redis execute it, even if its caller has left, unless it was lost with its connection."""
        work, self._work = self._work, None
        if work is not None and self._loop.time() < self._sent_at + LOST_SECONDS:
            self._reply = work()

    def arrive(self) -> None:
        self.reach()
        if not self.answer.done():
            self.answer.set_result(self._reply)

    def fail(self) -> None:
        if not self.answer.done():
            self.answer.set_exception(RedisFailed(FailureKind.CONNECTION))


class Wire:
    """Requests and replies, in order. `fault_at` is when a request last failed."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._crossings: deque[Crossing] = deque()
        self.away = False
        self.slow = False
        """Too slow for a lookup, but fast enough for a write."""
        self.stuck: Stuck | None = None
        self.fault_at = float("-inf")

    @property
    def sound(self) -> bool:
        return not (self.away or self.slow or self.stuck)

    async def carry(self, work: Callable[[], T], seconds: float) -> T:
        """Have Redis do `work`. Raises RedisFailed; work that timed out may still be done."""
        await asyncio.sleep(0)
        try:
            return await self._carry(work, seconds)
        except RedisFailed:
            self.fault_at = self._loop.time()
            raise

    async def _carry(self, work: Callable[[], T], seconds: float) -> T:
        if self.away:
            raise RedisFailed(FailureKind.UNAVAILABLE)
        if self.slow and seconds <= LOOKUP_SECONDS:
            raise RedisFailed(FailureKind.TIMEOUT)
        if self.stuck is None:
            return work()
        crossing = Crossing(work, self._loop)
        if self.stuck == "replies":
            crossing.reach()
        self._crossings.append(crossing)
        try:
            async with asyncio.timeout(seconds):
                reply: T = await crossing.answer
                return reply
        except TimeoutError:
            raise RedisFailed(FailureKind.TIMEOUT) from None

    def stick(self, what: Stuck) -> None:
        """Hold back requests, or only replies, from now on; the order is kept."""
        self.stuck = what
        for crossing in self._crossings if what == "replies" else ():
            crossing.reach()

    def flow(self) -> None:
        """Repair the connection; everything that was held back arrives."""
        self.away = self.slow = False
        self.stuck = None
        while self._crossings:
            self._crossings.popleft().arrive()

    def cut(self, *, reached: bool) -> None:
        """Cut the connection; pending requests have `reached` Redis or not."""
        self.stuck, self.slow, self.away = None, False, True
        while self._crossings:
            crossing = self._crossings.popleft()
            if reached:
                crossing.reach()
            crossing.fail()


class Subscription:
    """The invalidations that reach one gateway; since `sound_since` none was lost or late."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wire: Wire, trust_seconds: float) -> None:
        self._loop = loop
        self._wire = wire
        self._late: list[Invalidation] = []
        self._stalled_at = 0.0
        self._beat_at = loop.time()
        self._continuity = Continuity(trust_seconds)
        self._trust = trust_seconds
        self.on_invalidation: Callable[[Invalidation], None] = lambda _: None
        self.state: Literal["flowing", "stalled", "lost"] = "flowing"
        self.sound_since = loop.time()
        self._continuity.subscribed(loop.time())
        self._continuity.beat_received(loop.time(), loop.time())

    def trusted_since(self, now: float) -> float:
        self._beat(now)
        return self._continuity.trusted_since(now)

    def take(self, invalidation: Invalidation) -> None:
        if self.state == "flowing":
            self.on_invalidation(invalidation)
        elif self.state == "stalled":
            self._late.append(invalidation)

    def stall(self) -> None:
        self._beat(self._loop.time())
        self.state = "stalled"
        self._stalled_at = self._loop.time()

    def lose(self) -> None:
        self._beat(self._loop.time())
        self.state = "lost"
        self._late.clear()

    def resume(self) -> None:
        """Deliver late invalidations; after a long stall or a loss, subscribe anew without them."""
        if self.state == "flowing":
            return
        now = self._loop.time()
        if self.state == "stalled" and now - self._stalled_at < self._trust:
            self.state = "flowing"
            for invalidation in self._late:
                self.on_invalidation(invalidation)
        else:
            self.state = "flowing"
            self._continuity.subscribed(now)
            self._beat_at = now
            self._continuity.beat_received(now, now)
        self._late.clear()
        self.sound_since = now

    def _beat(self, now: float) -> None:
        while self._beat_at + BEAT_SECONDS <= now:
            self._beat_at += BEAT_SECONDS
            if self.state == "flowing" and not (self._wire.away or self._wire.stuck):
                self._continuity.beat_received(self._beat_at, self._beat_at)
