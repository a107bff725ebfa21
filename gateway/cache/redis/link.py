"""A gateway's link to Redis: store and subscription, on connections that can be replaced while serving."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from gateway.breaker import State
from gateway.cache.announcement import OnAnnouncement, Sampled
from gateway.cache.invalidation import OnInvalidation
from gateway.cache.redis.commands import COMMAND_SECONDS, Commands
from gateway.cache.redis.connect import Opener, Tls
from gateway.cache.redis.heartbeat import Heartbeat
from gateway.cache.redis.layout import Keys, Limits
from gateway.cache.redis.lookups import Lookups
from gateway.cache.redis.pubsub import Subscriber
from gateway.cache.redis.store import RedisStore
from gateway.cache.redis.topology import Topology, build_topology
from gateway.cache.redis.url import RedisUrl, parse_url
from gateway.cache.redis.writes import Writes
from gateway.clock import Clock
from gateway.resolver import Resolver
from gateway.tasks import Tasks
from gateway.telemetry.metrics import Metrics

Build = Callable[[RedisUrl, Tls], Topology]
OnState = Callable[[State, str | None], None]


class Link:
    """Owns the store and the subscription, and replaces their connections while serving."""

    def __init__(
        self,
        target: tuple[RedisUrl, Tls],
        build: Build,
        commands: Commands,
        heartbeat: Heartbeat,
        subscriber: Subscriber,
        store: RedisStore,
        *,
        since: "_Since",
        tasks: Tasks,
    ) -> None:
        self.store = store
        self._target = target
        self._build = build
        self._commands = commands
        self._heartbeat = heartbeat
        self._subscriber = subscriber
        self._since = since
        self._tasks = tasks
        self._replacing = asyncio.Lock()
        self._running = [tasks.spawn("redis replay", store.replayer.run())]

    @property
    def state(self) -> State:
        """Open without a connection or while the breaker is; on a cluster the worst node's state."""
        return self._commands.topology.state

    @property
    def reason(self) -> str | None:
        """Why `state` is open, its kind first; None if it is not, or that is not known yet."""
        return self._commands.topology.reason

    @property
    def state_since(self) -> float:
        """When Redis started or stopped answering (monotonic seconds)."""
        return self._since.at

    @property
    def subscribed(self) -> bool:
        """Whether invalidations from other gateways arrive."""
        return self._heartbeat.up

    @property
    def subscribed_since(self) -> float:
        """When invalidations started or stopped arriving (monotonic seconds)."""
        return self._heartbeat.up_since

    def trusted_since(self, now: float) -> float:
        """Local entries older than this (monotonic seconds) are not served without a look at Redis."""
        return self._heartbeat.trusted_since(now)

    def listen(self, on_invalidation: OnInvalidation, on_announcement: OnAnnouncement) -> None:
        """Pass on other gateways' invalidations, and all announcements, from now on. To be called once."""
        self.store.listen(on_invalidation, on_announcement)
        self._running += [
            self._tasks.spawn("redis listen", self._subscriber.listen(on_invalidation, on_announcement)),
            self._tasks.spawn("redis beat", self._heartbeat.run()),
        ]

    async def replace(self, url: str, tls: Tls) -> None:
        """Move to another server, or use other credentials, while requests are served.

        Returns after the first attempt to connect (about 1 s at most), whether or not it succeeded: the old
        server serves until then, and its connections close once their requests have ended. With the same
        server, database included, local entries stay trusted; on another one those from before are not, and
        recent writes of this gateway are replayed.
        Raises ValueError if the URL is malformed, and changes nothing then.
        """
        target = (parse_url(url), tls)
        async with self._replacing:
            if target == self._target:
                return
            topology = self._build(*target)
            try:
                await topology.__aenter__()
            except BaseException:
                await topology.__aexit__(None, None, None)
                raise
            same_server = target[0].server == self._target[0].server
            self._target = target
            previous, self._commands.topology = self._commands.topology, topology
            if not same_server:
                self.store.replayer.server_changed()
            self._tasks.spawn("redis retire", _retire(previous))
            self._since.update(topology)
            await self._subscriber.move(same_server=same_server)

    async def close(self) -> None:
        """Stop all tasks and connections."""
        for task in self._running:
            task.cancel()
        await asyncio.wait(self._running)
        self._subscriber.close()
        await self._commands.topology.__aexit__(None, None, None)


async def _retire(topology: Topology) -> None:
    """Close a topology that gets no more requests, once those under way have ended."""
    try:
        await topology.drained(COMMAND_SECONDS)
    finally:
        await topology.__aexit__(None, None, None)


class _Since:
    """When the state last changed to or from closed; reports each update to `on_state`."""

    def __init__(self, clock: Clock, on_state: OnState) -> None:
        self._clock = clock
        self._on_state = on_state
        self._state = State.OPEN
        self.at = clock.monotonic()

    def update(self, topology: Topology) -> None:
        state = topology.state
        if State.CLOSED in (self._state, state) and state is not self._state:
            self.at = self._clock.monotonic()
        self._state = state
        self._on_state(state, topology.reason)


def _builder(
    resolver: Resolver, tasks: Tasks, on_change: Callable[[], None], on_failure: Callable[[Exception], object]
) -> Build:
    """Return what builds a topology, which reports to `on_change` and `on_failure`: see `build_topology`."""

    def build(url: RedisUrl, tls: Tls) -> Topology:
        opener = Opener(url, tls, resolver)
        return build_topology(opener, tasks, on_change=on_change, on_failure=on_failure)

    return build


def _store(
    commands: Commands, keys: Keys, limits: Limits, tasks: Tasks, gateway_id: str, sampled: Sampled
) -> RedisStore:
    freshness = limits.freshness
    return RedisStore(
        commands,
        Lookups(commands, tasks, keys, limits),
        Writes(commands, keys, limits, gateway_id, sampled),
        tasks,
        channel=keys.channel,
        gateway_id=gateway_id,
        recent_seconds=freshness.fresh_seconds + freshness.stale_while_revalidate_seconds,
    )


@asynccontextmanager
async def linked(
    url: str,
    tls: Tls,
    limits: Limits,
    *,
    namespace: str,
    gateway_id: str,
    resolver: Resolver,
    clock: Clock,
    tasks: Tasks,
    metrics: Metrics,
    on_state: OnState,
    sampled: Sampled,
) -> AsyncIterator[Link]:
    """Connect. Yields after the first attempt (about 1 s at most), whether or not it succeeded.

    `gateway_id` marks this gateway's invalidations; `on_state` is called with `Link.state`, and why it is
    open if that is known, whenever either may have changed; `sampled` draws whether a write is announced, so
    that every gateway checks what it would serve. Raises ValueError if the URL is malformed.
    """
    target = (parse_url(url), tls)
    since, commands, keys = _Since(clock, on_state), Commands(metrics), Keys(namespace)
    store = _store(commands, keys, limits, tasks, gateway_id, sampled)

    def on_change() -> None:
        since.update(commands.topology)
        store.replayer.node_changed()

    build = _builder(resolver, tasks, on_change, commands.count)
    commands.topology = build(*target)
    heartbeat = Heartbeat(commands, keys.beat(gateway_id), limits, clock, metrics)
    subscriber = Subscriber(commands, heartbeat, keys, gateway_id=gateway_id, clock=clock, metrics=metrics)
    await commands.topology.__aenter__()
    since.update(commands.topology)  # a first attempt that failed changes no state, but must show
    link = Link(target, build, commands, heartbeat, subscriber, store, since=since, tasks=tasks)
    try:
        yield link
    finally:
        await link.close()
