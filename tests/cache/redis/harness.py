"""A gateway's connection to some Redis, and what tests ask of it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from redis import Redis

from gateway.breaker import State
from gateway.cache.announcement import Announcement, Sampled
from gateway.cache.entry import Freshness
from gateway.cache.invalidation import Invalidation
from gateway.cache.lookup import Lookup
from gateway.cache.redis.commands import Commands
from gateway.cache.redis.connect import Opener, Tls
from gateway.cache.redis.layout import TICKS, Keys, Limits, variant_name
from gateway.cache.redis.link import Link, linked
from gateway.cache.redis.topology import Topology, build_topology
from gateway.cache.redis.url import parse_url
from gateway.clock import SystemClock
from gateway.model import Id, Kind, Partition, Rating, User, Variant, plain_resource
from gateway.resolver import Resolver
from gateway.tasks import Tasks
from gateway.telemetry.metrics import Metrics
from tests.faultproxy import FaultProxy
from tests.waiting import until

USER = User.of("the token of a test")
OTHER = User.of("another token")
ALBUMS = Partition(USER, Kind.ALBUMS)
LIBRARY = Partition(USER, Kind.LIBRARY_ALBUMS)
GERMAN = Partition(USER, Kind.ALBUMS, Variant("l=de"))
HOLD_SECONDS = 10.0
WRITE_SECONDS = 15.0
"""With the default settings, for a caller that names no wait."""
MAIN = Keys("ratings").main(USER.key, Kind.ALBUMS)
"""The key of ALBUMS."""
VARIANT = f"{MAIN}:{variant_name(GERMAN.variant)}"
"""The key of GERMAN."""

ONE, TWO, THREE = Id("1"), Id("2"), Id("3")
LIKED, DISLIKED = 1, -1
FRESHNESS = Freshness(
    fresh_seconds=300.0, stale_while_revalidate_seconds=300.0, stale_if_error_seconds=86_400.0, jitter=0.0
)


# The ACL that the README recommends.
MINIMAL_ACL = (
    "user gateway on >secret ~ratings:* &ratings:* -@all "
    "+time +hmget +evalsha +eval +hget +hset +hdel +hgetall +hlen +exists +del +pexpire +publish +subscribe"
)


def limits(**changed: Any) -> Limits:
    """Those of the default settings, but with time for a busy machine."""
    usual: dict[str, Any] = {
        "freshness": FRESHNESS,
        "hold_seconds": HOLD_SECONDS,
        "longest_write_seconds": 605.0,
        "lookup_seconds": 1.0,
        "trust_seconds": 1.0,
        "max_ratings_per_user": 20_000,
    }
    return Limits(**usual | changed)


class Side:
    """One gateway's side of Redis."""

    def __init__(
        self, link: Link, metrics: Metrics, tasks: Tasks, states: list[State], reasons: list[str | None]
    ) -> None:
        self.link = link
        self.store = link.store
        self.metrics = metrics
        self.tasks = tasks
        self.received: list[Invalidation] = []
        self.announced: list[Announcement] = []
        self.states = states
        """Each reported state of Redis."""
        self.reasons = reasons
        """Why it was open, for each of them."""
        self._changed = asyncio.Event()

    def on_invalidation(self, invalidation: Invalidation) -> None:
        self.received.append(invalidation)

    def on_announcement(self, announcement: Announcement, /, *, age: float, own: bool) -> None:
        del age, own
        self.announced.append(announcement)

    async def keep(self, partition: Partition, ratings: Mapping[Id, Rating]) -> bool | None:
        """Look up and fill, as a fetch does."""
        lookup = await self.look(partition, *ratings)
        assert isinstance(lookup.shared_version, bytes)
        return await self.store.fill(partition, lookup.shared_version, ratings)

    async def look(self, partition: Partition, *ids: Id) -> Lookup:
        return await self.store.lookup(partition, ids, SystemClock.monotonic())

    async def seen(self, partition: Partition, id_: Id) -> Rating | str:
        """What a reader would be shown of one id from here: a rating, or 'miss'."""
        lookup = await self.look(partition, id_)
        if id_ in lookup.holds:
            return lookup.holds[id_].rating
        return lookup.entries[id_].rating if id_ in lookup.entries else "miss"

    async def write(self, partition: Partition, id_: Id, outcome: Any) -> bool | None:
        stamp = await self.store.begin(partition.user_kind, id_, WRITE_SECONDS)
        return await self.store.end(partition.user_kind, id_, stamp, outcome)

    def errors(self, kind: str) -> float:
        value = self.metrics.registry.get_sample_value("gateway_shared_cache_errors_total", {"kind": kind})
        return value or 0.0

    @property
    def breaker(self) -> float | None:
        return self.metrics.registry.get_sample_value("gateway_breaker_state", {"target": "redis"})

    @property
    def subscription_up(self) -> float | None:
        return self.metrics.registry.get_sample_value("gateway_subscription_up")


@asynccontextmanager
async def side_of(
    url: str,
    *,
    tls: Tls | None = None,
    resolver: Resolver | None = None,
    gateway_id: str = "one",
    listening: bool = False,
    sampled: Sampled = lambda: False,
    **changed: Any,
) -> AsyncIterator[Side]:
    """A gateway's side of the Redis at `url`; any task that fails fails the test."""
    faults: list[tuple[str, BaseException]] = []
    tasks = Tasks(lambda name, error: faults.append((name, error)))
    metrics = Metrics()
    states: list[State] = []
    reasons: list[str | None] = []

    def on_state(state: State, reason: str | None) -> None:
        reasons.append(reason)
        states.append(state)
        metrics.breaker_state.labels("redis").set(state)

    async with linked(
        url,
        tls or Tls(),
        limits(**changed),
        namespace="ratings",
        gateway_id=gateway_id,
        resolver=resolver or Resolver(),
        clock=SystemClock(),
        tasks=tasks,
        metrics=metrics,
        on_state=on_state,
        sampled=sampled,
    ) as link:
        side = Side(link, metrics, tasks, states, reasons)
        if listening:
            link.listen(side.on_invalidation, side.on_announcement)
            await until(lambda: side.subscription_up == 1)
        yield side
    await tasks.cancel()
    assert not faults


@asynccontextmanager
async def topology_of(url: str, reported: list[State] | None = None) -> AsyncIterator[Topology]:
    """A topology that appends each state that it reports to `reported`; a task that fails fails the test."""
    faults: list[tuple[str, BaseException]] = []
    tasks = Tasks(lambda name, error: faults.append((name, error)))
    states = [] if reported is None else reported
    opener = Opener(parse_url(url), Tls(), Resolver())
    topology = build_topology(opener, tasks, lambda: states.append(topology.state), lambda _: None)
    async with topology:
        yield topology
    await tasks.cancel()
    assert not faults


@asynccontextmanager
async def commands_on(url: str, metrics: Metrics | None = None) -> AsyncIterator[Commands]:
    async with topology_of(url) as topology:
        commands = Commands(metrics or Metrics())
        commands.topology = topology
        yield commands


def aged(client: Redis, key: str, id_: str, seconds: float) -> None:
    """Make a stored rating `seconds` older (below 0: younger)."""
    field = client.hget(key, id_)
    assert isinstance(field, bytes)
    ticks = int.from_bytes(field[2:7]) - round(seconds * TICKS)
    client.hset(key, id_, field[:2] + ticks.to_bytes(5) + field[7:])


def more(id_: Id) -> bytes:
    """A resource that is stored as JSON, because it has more fields than its rating."""
    return plain_resource(Kind.ALBUMS, id_, 1).replace(b"}}", b'},"more":1}')


def held(lookup: Lookup) -> dict[Id, Rating]:
    """The ratings within their hold."""
    return {id_: hold.rating for id_, hold in lookup.holds.items()}


def asks_apple(lookup: Lookup, id_: Id) -> bool:
    """Whether the entry is served only if Apple fails, because the paired type was written."""
    entry = lookup.entries[id_]
    return entry.ask_when_stale and entry.fresh_until <= entry.trusted_at


def age(lookup: Lookup, id_: Id) -> float:
    """Seconds between when Apple reported the entry and the lookup."""
    entry = lookup.entries[id_]
    return entry.trusted_at - entry.fetched_at


async def cut_off(proxy: FaultProxy, side: Side) -> None:
    await proxy.down()
    await until(lambda: side.link.state is State.OPEN)
