"""Single flight over loads that stay in flight until the test ends them."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from gateway.cache.cache import Cache
from gateway.fetch.single_flight import SingleFlight
from gateway.fetch.wait import FetchResult
from gateway.fill_token import FillToken
from gateway.model import Id, Kind, Partition, Rating, User
from gateway.riders import Riders
from gateway.tasks import Tasks
from gateway.telemetry.metrics import Metrics
from gateway.waiters import Waiters
from tests.hand_clock import HandClock

T = TypeVar("T")

USER = User.of("alice's token")
ALBUMS = Partition(USER, Kind.ALBUMS)


def ids(*names: object) -> list[Id]:
    return [Id(str(name)) for name in names]


class FakeToken(FillToken, frozen=True):
    """A token with a name, so that a test sees which one a result was stored with."""

    version: int = 0
    taken_at: float = 0.0
    name: object = "token"


class Loading:
    """One load in flight."""

    def __init__(
        self, partition: Partition, asked: Sequence[Id], riders: Riders, waiters: Waiters, deadline: float
    ) -> None:
        self.partition = partition
        self.ids = list(asked)
        self.riders = riders
        self.waiters = waiters
        self.deadline = deadline
        self.result: asyncio.Future[Mapping[Id, FetchResult]] = asyncio.get_running_loop().create_future()

    def answer(self, results: Mapping[Id, FetchResult] | None = None) -> None:
        """End with `results`; by default every id gets a rating that names it."""
        ids = [*self.ids, *self.riders.ids]
        self.result.set_result({id_: rating(id_) for id_ in ids} if results is None else results)

    def fail(self, error: BaseException) -> None:
        self.result.set_exception(error)


def rating(id_: str) -> bytes:
    return f"rating of {id_}".encode()


class FetchTasks(Tasks):
    """Reports each dispatch, which comes before the load's first step."""

    on_dispatch: Callable[[], None]

    def spawn(self, name: str, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        self.on_dispatch()
        return super().spawn(name, work)


class FakeLoads:
    """Single flight over loads that the test ends; without `storage`, a record of what was stored."""

    def __init__(
        self,
        *,
        window: float = 0.0,
        size: int = 100,
        fetch_seconds: float = 10.0,
        on_dispatch: Callable[[], None] = lambda: None,
        storage: Callable[[], Cache] | None = None,
    ) -> None:
        self.loads: list[Loading] = []
        self.stored: list[tuple[Partition, Any, dict[Id, Rating]]] = []
        """Each call of the store: partition, name of the token, ratings of ids that were asked for."""
        self.ridden: list[dict[Id, Rating]] = []
        """Each call of the store for ids that no request asked for."""
        self.failed_riders: list[list[Id]] = []
        self._storage = storage
        self.before_store: Callable[[], None] = lambda: None
        self.bugs: list[BaseException] = []
        self.size = size
        self.clock = HandClock()
        self.metrics = Metrics()
        self.tasks = FetchTasks(lambda _, error: self.bugs.append(error))
        self.tasks.on_dispatch = on_dispatch
        self.flights = SingleFlight(
            self._load,
            self._store,
            self._riders_failed,
            size=lambda: self.size,
            window_seconds=window,
            fetch_seconds=fetch_seconds,
            call_seconds=0.0,
            tasks=self.tasks,
            clock=self.clock,
            metrics=self.metrics,
        )
        self._begun = asyncio.Condition()

    async def begun(self, count: int) -> list[Loading]:
        """Return all loads, once there are `count` of them."""
        async with asyncio.timeout(5), self._begun:
            await self._begun.wait_for(lambda: len(self.loads) >= count)
        assert len(self.loads) == count
        return self.loads

    def asked(self) -> list[list[Id]]:
        return [load.ids for load in self.loads]

    async def _load(
        self,
        partition: Partition,
        asked: Sequence[Id],
        *,
        riders: Riders,
        waiters: Waiters,
        deadline: float,
    ) -> Mapping[Id, FetchResult]:
        load = Loading(partition, asked, riders, waiters, deadline)
        self.loads.append(load)
        async with self._begun:
            self._begun.notify_all()
        return await load.result

    def _store(
        self, partition: Partition, token: FillToken, ratings: Mapping[Id, Rating], *, ridden: bool
    ) -> None:
        self.before_store()
        if self._storage is not None:
            self._storage().store(partition, token, ratings, ridden=ridden)
        elif ridden:
            self.ridden.append(dict(ratings))
        else:
            assert isinstance(token, FakeToken)
            self.stored.append((partition, token.name, dict(ratings)))

    def _riders_failed(self, partition: Partition, ids: Collection[Id]) -> None:
        if self._storage is not None:
            self._storage().top_up.failed(partition, ids)
        else:
            self.failed_riders.append(list(ids))


async def quiet(rounds: Iterable[int] = range(20)) -> None:
    """Let everything run that can run now."""
    for _ in rounds:
        await asyncio.sleep(0)
