"""The heartbeat that a gateway sends itself through Redis, to prove that invalidations arrive.

It is published through every node, just as invalidations are, and received on the gateway's subscription:
while it comes back, invalidations arrive too. A node that refuses it refuses writes and invalidations too, so
lookups skip the node. Each heartbeat also probes a node whose breaker is not closed.
"""

import asyncio
import contextlib
import math

from gateway.breaker import State
from gateway.cache.invalidation import Continuity, ServerTime
from gateway.cache.redis import scripts
from gateway.cache.redis.commands import Commands
from gateway.cache.redis.connection import pack
from gateway.cache.redis.dispatcher import Dispatcher
from gateway.cache.redis.errors import RedisFailed, failure_kind
from gateway.cache.redis.layout import Limits
from gateway.clock import MICROSECONDS, Clock
from gateway.telemetry.metrics import Metrics

MAX_BEAT_SECONDS = 0.25
MIN_BEAT_SECONDS = 0.01


class Heartbeat:
    """Publishes heartbeats on `channel` while `run` runs, and judges by those that return.

    Times are monotonic seconds.
    """

    def __init__(
        self, commands: Commands, channel: str, limits: Limits, clock: Clock, metrics: Metrics
    ) -> None:
        trust_seconds = limits.trust_seconds
        self._commands = commands
        self.channel = channel
        self._seconds = max(MIN_BEAT_SECONDS, min(trust_seconds / 4, MAX_BEAT_SECONDS))
        self.silence_seconds = max(trust_seconds, 4 * self._seconds)
        """A subscription on which nothing arrives for so long is broken."""
        self._lookup_seconds = limits.lookup_seconds
        self._clock = clock
        self._up_gauge = metrics.subscription_up
        self.up = False
        """Whether invalidations arrived at the last check, which each heartbeat makes."""
        self.up_since = clock.monotonic()
        """Since when `up` has had its value."""
        self.server_time = ServerTime()
        """What the nodes' clocks show, by their replies to heartbeats."""
        self._continuity = Continuity(trust_seconds)
        self._due = asyncio.Event()
        self._returned: dict[str, float] = {}
        """By node: when the latest heartbeat was sent that came back through it."""

    async def run(self) -> None:
        """Publish heartbeats, and check whether they come back."""
        while True:
            nodes = self._commands.topology.everywhere()
            self._returned = {node.name: self._returned.get(node.name, -math.inf) for node in nodes}
            await asyncio.gather(*map(self._beat_through, nodes))
            self.check(self._clock.monotonic())
            self._due.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    await self._due.wait()

    def hasten(self) -> None:
        """Publish the next heartbeat at once."""
        self._due.set()

    def returned(self, content: bytes, now: float) -> None:
        """Note a heartbeat that came back; `check` shows what follows."""
        sent_at, _, node = content.decode().partition(" ")
        self._returned[node] = float(sent_at)
        self._continuity.beat_received(min(self._returned.values()), now)

    def check(self, now: float) -> None:
        """Update `up`."""
        up = self.arrives(now)
        self._up_gauge.set(up)
        if up is not self.up:
            self.up, self.up_since = up, now

    def arrives(self, now: float) -> bool:
        """Whether invalidations arrive."""
        return self._continuity.up(now)

    def trusted_since(self, now: float) -> float:
        """See `Continuity`."""
        return self._continuity.trusted_since(now)

    def gap(self, now: float) -> None:
        """Note that invalidations from before `now` may have been missed."""
        self._continuity.subscribed(now)
        self._due.set()

    def moved(self, *, same_server: bool) -> None:
        """Note that `commands` sends elsewhere. From another server, no entry from before is trusted."""
        self.server_time.reset()
        if not same_server:
            now = self._clock.monotonic()
            self._continuity.distrust_before(now)
            self.check(now)

    async def _beat_through(self, node: Dispatcher) -> None:
        self._probe(node)
        # Failures are not counted, but for the first refusal: four a second would drown those of lookups.
        with contextlib.suppress(Exception):
            sent_at = self._clock.monotonic()
            beat = [self.channel, f"{sent_at!r} {node.name}"]
            answer = await self._commands.run_at(node, scripts.BEAT, beat)
            received_at = self._clock.monotonic()
            self.server_time.observe(node.name, sent_at, received_at, answer.micros / MICROSECONDS)
            error = answer.error
            if node.note_refusal(None if error is None else failure_kind(error)) and error is not None:
                self._commands.count(error)

    def _probe(self, node: Dispatcher) -> None:
        """Probe a node whose breaker is not closed, within the time of a lookup: there may be none."""
        if node.state is not State.CLOSED:
            with contextlib.suppress(RedisFailed):
                node.send(pack("TIME"), 1, timeout=self._lookup_seconds, guarded=True)
