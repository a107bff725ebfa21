"""Single flight over loads that stay in flight until the test ends them."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from gateway.fetch.pending import Outcome
from gateway.fetch.single_flight import SingleFlight, Store
from gateway.model import Id, Kind, Partition, Rating, User
from gateway.tasks import Tasks
from gateway.telemetry.metrics import Metrics
from gateway.waiters import Waiters
from tests.user_input import HandClock

T = TypeVar("T")

USER = User.of("alice's token")
ALBUMS = Partition(USER, Kind.ALBUMS)


def ids(*names: object) -> list[Id]:
    return [Id(str(name)) for name in names]


class FakeToken(NamedTuple):
    """A token with a name, so that a test can tell which one a result was stored with."""

    name: object = "token"
    pending: Mapping[Id, Hashable] = {}


class Loading:
    """One load in flight."""

    def __init__(self, partition: Partition, asked: Sequence[Id], waiters: Waiters, deadline: float) -> None:
        self.partition = partition
        self.ids = list(asked)
        self.waiters = waiters
        self.deadline = deadline
        self.result: asyncio.Future[Mapping[Id, Outcome]] = asyncio.get_running_loop().create_future()

    def answer(self, outcomes: Mapping[Id, Outcome] | None = None) -> None:
        """End with `outcomes`; by default every id gets a rating that names it."""
        self.result.set_result({id_: rating(id_) for id_ in self.ids} if outcomes is None else outcomes)

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
    """Single flight over loads that the test ends; without a `store`, a record of what was stored."""

    def __init__(
        self,
        *,
        window: float = 0.0,
        size: int = 100,
        fetch_seconds: float = 10.0,
        on_dispatch: Callable[[], None] = lambda: None,
        store: Store | None = None,
    ) -> None:
        self.loads: list[Loading] = []
        self.stored: list[tuple[Partition, Any, dict[Id, Rating]]] = []
        """Each call of the store: partition, name of the token, ratings."""
        self.before_store: Callable[[], None] = lambda: None
        self.bugs: list[BaseException] = []
        self.size = size
        self.clock = HandClock()
        self.metrics = Metrics()
        self.tasks = FetchTasks(lambda _, error: self.bugs.append(error))
        self.tasks.on_dispatch = on_dispatch
        self.flights = SingleFlight(
            self._load,
            store or self._store,
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
        self, partition: Partition, asked: Sequence[Id], *, waiters: Waiters, deadline: float
    ) -> Mapping[Id, Outcome]:
        load = Loading(partition, asked, waiters, deadline)
        self.loads.append(load)
        async with self._begun:
            self._begun.notify_all()
        return await load.result

    def _store(self, partition: Partition, token: FakeToken, ratings: Mapping[Id, Rating]) -> None:
        self.before_store()
        self.stored.append((partition, token.name, dict(ratings)))


async def quiet(rounds: Iterable[int] = range(20)) -> None:
    """Let everything run that can run now."""
    for _ in rounds:
        await asyncio.sleep(0)
