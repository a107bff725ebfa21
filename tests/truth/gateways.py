"""A gateway without HTTP: real tiers, single flight, reader and writer, on models of Redis and Apple."""

import asyncio
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from gateway.apple.quarantine import Quarantine
from gateway.cache.cache import Cache
from gateway.cache.entry import Freshness
from gateway.cache.invalidation import Purge
from gateway.cache.lookup import Lookup
from gateway.cache.memory import MemoryCache
from gateway.cache.redis.retry_queue import Undelivered
from gateway.cache.redis.store import RedisStore
from gateway.cache.redis.writes import Ended, Replayed
from gateway.cache.write_log import WriteLog
from gateway.cache.write_rule import Outcome
from gateway.fetch.single_flight import SingleFlight
from gateway.model import Id, Kind, Partition, Rating, User, UserKind
from gateway.ratings.partition_read import Sources
from gateway.ratings.query import Answer, Query
from gateway.ratings.read import Reader
from gateway.ratings.read_metrics import ReadMetrics
from gateway.ratings.refresh import Refresher
from gateway.ratings.write import Writer
from gateway.tasks import Tasks
from gateway.telemetry.metrics import Metrics
from gateway.waiters import Requester
from tests.simulation.loop import LoopClock, SimulatedLoop
from tests.truth.apple import Apple, Client, Value
from tests.truth.redis import RuleRedis
from tests.truth.wire import LOOKUP_SECONDS, WRITE_SECONDS, Subscription, Wire

HOLD_SECONDS = 10.0
TRUST_SECONDS = 1.0
FETCH_SECONDS = 10.0
WINDOW_SECONDS = 0.005
FRESHNESS = Freshness(
    fresh_seconds=300, stale_while_revalidate_seconds=300, stale_if_error_seconds=86_400, jitter=0.0
)
METRICS = Metrics()


class Written:
    """A write as its caller sees it; `delivered`: Redis received its begin and its end in time."""

    def __init__(
        self,
        gateway: str,
        user: User,
        kind: Kind,
        id_: Id,
        value: Value,
        begun: float,
        refused: bool,
        favorite: bool = False,
    ) -> None:
        self.gateway = gateway
        self.user = user
        self.kind = kind
        self.id = id_
        self.value = value
        self.begun = begun
        self.refused = refused
        self.favorite = favorite
        """It is a favorite: its value is Apple's, and not promised."""
        self.answered: float | None = None
        self.confirmed = False
        """Apple accepted it, and its value is promised."""
        self.accepted = False
        self.delivered = True


WRITING: ContextVar[Written] = ContextVar("writing")


class Watched(RedisStore):
    """The real shared tier; also records whether Redis received each write in time."""

    async def begin(self, user_kind: UserKind, id_: Id, write_seconds: float) -> bytes | None:
        stamp = await super().begin(user_kind, id_, write_seconds)
        WRITING.get().delivered &= stamp is not None
        return stamp

    async def end(self, user_kind: UserKind, id_: Id, stamp: bytes | None, outcome: Outcome) -> bool | None:
        alone = await super().end(user_kind, id_, stamp, outcome)
        WRITING.get().delivered &= alone is not None
        return alone


class Commands:
    """The lookups and writes of the shared tier, on the model of Redis.

    `on_purge` and `on_replay` are called when Redis executes one.
    """

    def __init__(self, name: str, redis: RuleRedis, wire: Wire, on_purge: Any, on_replay: Any) -> None:
        self._name = name
        self._redis = redis
        self._wire = wire
        self._on_purge = on_purge
        self._on_replay = on_replay

    connected = True
    """It is not known before a request fails."""

    def count(self, _: BaseException) -> None:
        pass

    async def lookup(self, partition: Partition, ids: Sequence[Id], now: float) -> Lookup:
        asked = list(ids)
        return await self._wire.carry(lambda: self._redis.lookup(partition, asked, now), LOOKUP_SECONDS)

    async def fill(self, partition: Partition, version: bytes, ratings: Mapping[Id, Rating]) -> bool:
        return await self._wire.carry(lambda: self._redis.fill(partition, version, ratings), WRITE_SECONDS)

    async def begin(self, place: UserKind, id_: Id, write_seconds: float) -> bytes:
        return await self._wire.carry(
            lambda: self._redis.begin(place, id_, write_seconds, self._name), WRITE_SECONDS
        )

    async def end(self, place: UserKind, id_: Id, stamp: bytes | None, outcome: Outcome) -> Ended:
        return await self._wire.carry(
            lambda: self._redis.end(place, id_, stamp, outcome, self._name), WRITE_SECONDS
        )

    async def purge(self, kinds: Sequence[Kind], purge: Purge) -> bool:
        def work() -> bool:
            self._redis.purge(kinds, purge, self._name)
            self._on_purge(self._name, purge)
            return True

        return await self._wire.carry(work, WRITE_SECONDS)

    async def replay(self, place: UserKind, undelivered: Undelivered) -> Replayed:
        def work() -> Replayed:
            replayed = self._redis.replay(place, undelivered, self._name)
            self._on_replay(self._name, place, None if undelivered.all else set(undelivered.ids))
            return replayed

        return await self._wire.carry(work, WRITE_SECONDS)


class Gateway:
    """One of the two gateways. `faults` are the failures of its tasks."""

    def __init__(
        self, name: str, loop: SimulatedLoop, redis: RuleRedis, apple: Apple, on_purge: Any, on_replay: Any
    ) -> None:
        self.name = name
        self.loop = loop
        clock = LoopClock(loop)
        self.faults: list[tuple[str, BaseException]] = []
        self.wire = Wire(loop)
        self.subscription = Subscription(loop, self.wire, TRUST_SECONDS)
        self.client = Client(name, apple)
        self.tasks = Tasks(lambda task, error: self.faults.append((task, error)))
        commands: Any = Commands(name, redis, self.wire, on_purge, on_replay)
        self.shared = Watched(
            commands, commands, commands, self.tasks, channel="", gateway_id=name, recent_seconds=300.0
        )
        self.write_log = WriteLog(hold_seconds=HOLD_SECONDS)
        self.cache = Cache(
            memory=MemoryCache(
                max_entries=10_000, max_bytes=10_000_000, fresh_seconds=300, on_evict=lambda _: None
            ),
            write_log=self.write_log,
            shared=self.shared,
            freshness=FRESHNESS,
            trusted_since=self.subscription.trusted_since,
            on_drop=lambda *dropped: self.flights.detach(*dropped),  # noqa: PLW0108 - they are made below
            clock=clock,
            tasks=self.tasks,
            trust_seconds=TRUST_SECONDS,
        )
        self.flights = SingleFlight(
            self.client.fetch,
            self.cache.store,
            self.cache.top_up.failed,
            size=self.client.batch_size,
            window_seconds=WINDOW_SECONDS,
            fetch_seconds=FETCH_SECONDS,
            call_seconds=3.0,
            tasks=self.tasks,
            clock=clock,
            metrics=METRICS,
        )
        self.subscription.on_invalidation = self.cache.on_invalidation
        self.shared.listen(self.cache.on_invalidation, lambda *_, **__: None)
        sources = Sources(
            self.cache,
            self.flights,
            Quarantine(seconds=10, metrics=METRICS),
            Refresher(self.flights, self.tasks, METRICS),
            None,
            ReadMetrics(METRICS),
        )
        # One gateway reads every id in a separate piece.
        self.reader = Reader(sources, clock, piece_ids=1 if name == "one" else 1000)
        apple_client: Any = self.client
        self.writer = Writer(
            cache=self.cache, apple=apple_client, tasks=self.tasks, clock=clock, call_timeout_seconds=3.0
        )
        self.tasks.spawn("redis replay", self.shared.replayer.run())

    @property
    def undelivered(self) -> int:
        """Number of users and types with writes that Redis has not received."""
        return self.shared.undelivered

    def keeps(self, partition: Partition, id_: Id) -> bool:
        """Whether memory has the id, or a hold of a write through this gateway."""
        held = self.write_log.holds(partition.user_kind, self.loop.time())
        return id_ in self.cache.memory.partition(partition, self.loop.time()).entries or id_ in held

    def read(self, query: Query) -> "asyncio.Task[Any]":
        return asyncio.get_running_loop().create_task(self._read(query))

    async def _read(self, query: Query) -> Answer:
        """Read like the API: at once if memory has every id, else with awaits."""
        if (answer := self.reader.at_once(query)) is not None:
            return answer
        await asyncio.sleep(0)
        return await self.reader.read(query)

    def write(self, written: Written, query: str, deadline: float) -> "asyncio.Task[Any]":
        WRITING.set(written)
        if written.favorite:
            return asyncio.get_running_loop().create_task(
                self.writer.favorites(
                    written.user, "POST", [(written.kind, written.id)], query, deadline, Requester()
                )
            )
        return asyncio.get_running_loop().create_task(
            self.writer.write(
                written.user, written.kind, written.id, written.value, query, deadline, Requester()
            )
        )
