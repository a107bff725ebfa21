"""The shared tier put together: from a URL to a tier that answers and news that comes in."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from gateway.breaker import State
from gateway.cache.invalidation import OnInvalidation
from gateway.cache.redis.commands import Asker
from gateway.cache.redis.connect import Opener, Tls
from gateway.cache.redis.keys import Keys
from gateway.cache.redis.limits import Limits
from gateway.cache.redis.pubsub import Listener
from gateway.cache.redis.store import RedisShared
from gateway.cache.redis.topology import Topology, build_topology
from gateway.cache.redis.url import parse_url
from gateway.clock import Clock
from gateway.tasks import Tasks
from gateway.telemetry.metrics import Metrics


class Link:
    """A gateway's link to Redis."""

    def __init__(
        self, tier: RedisShared, listener: Listener, topology: Topology, since: "_Since", tasks: Tasks
    ) -> None:
        self.tier = tier
        self._listener = listener
        self._topology = topology
        self._since = since
        self._tasks = tasks
        self._running = [tasks.spawn("redis backlog", tier.deliver_retries())]

    @property
    def state(self) -> State:
        """How asking stands: open without a connection, or while the breaker is; the worst node's."""
        return self._topology.state

    @property
    def state_since(self) -> float:
        """When Redis began, or ceased, to answer (monotonic seconds)."""
        return self._since.at

    @property
    def subscribed(self) -> bool:
        """Whether news from the other gateways is coming in."""
        return self._listener.up

    @property
    def subscribed_since(self) -> float:
        """When news began, or ceased, to come in (monotonic seconds)."""
        return self._listener.subscribed_since

    def trusted_since(self, now: float) -> float:
        """Local entries from before that moment (monotonic seconds) are not believed without asking Redis."""
        return self._listener.trusted_since(now)

    def listen(self, hears: OnInvalidation) -> None:
        """From now on give other gateways' news to `hears`. To be called once."""
        self._running += [
            self._tasks.spawn("redis listen", self._listener.listen(hears)),
            self._tasks.spawn("redis beat", self._listener.beat()),
        ]

    async def close(self) -> None:
        """Stop telling and listening."""
        for task in self._running:
            task.cancel()
        await asyncio.wait(self._running)


class _Since:
    """Since when a state has been closed, or not."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._state = State.OPEN
        self.at = clock.monotonic()

    def tell(self, state: State) -> None:
        if State.CLOSED in (self._state, state) and state is not self._state:
            self.at = self._clock.monotonic()
        self._state = state


@asynccontextmanager
async def linked(
    url: str,
    tls: Tls,
    limits: Limits,
    *,
    namespace: str,
    gateway_id: str,
    trust_seconds: float,
    clock: Clock,
    tasks: Tasks,
    metrics: Metrics,
    on_state: Callable[[State], None],
) -> AsyncIterator[Link]:
    """Connect; returns after the first attempt (1 s at most), whether or not Redis is there.

    `gateway_id` tells this gateway's news from others'; `on_state` hears `Link.state` at every change of a
    node's. Raises ValueError where the URL is wrong.
    """
    since = _Since(clock)

    def changed() -> None:
        since.tell(topology.state)
        on_state(topology.state)

    topology: Topology = build_topology(Opener(parse_url(url), tls), tasks, changed)
    async with topology:
        changed()  # a first attempt that failed changed nothing, but is to be seen
        asker = Asker(topology, metrics)
        listener = Listener(
            topology,
            asker,
            Keys(namespace),
            gateway_id=gateway_id,
            trust_seconds=trust_seconds,
            clock=clock,
            metrics=metrics,
        )
        tier = RedisShared(asker, tasks, limits, namespace=namespace, gateway_id=gateway_id)
        link = Link(tier, listener, topology, since, tasks)
        try:
            yield link
        finally:
            await link.close()
