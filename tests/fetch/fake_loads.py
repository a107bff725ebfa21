"""A stand-in for Apple's client: every load waits until the test says how it ends."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from gateway.fetch.pending import Outcome
from gateway.fetch.single_flight import SingleFlight
from gateway.model import Id, Kind, Partition, Resource, User
from gateway.tasks import Tasks
from gateway.telemetry.metrics import Metrics
from gateway.waiters import Waiters
from tests.user_input import HandClock

T = TypeVar("T")

USER = User.of("alice's token")
ALBUMS = Partition(USER, Kind.ALBUMS)


def ids(*names: object) -> list[Id]:
    return [Id(str(name)) for name in names]


class Loading:
    """One load under way."""

    def __init__(self, partition: Partition, asked: Sequence[Id], demand: Waiters, deadline: float) -> None:
        self.partition = partition
        self.ids = list(asked)
        self.demand = demand
        self.deadline = deadline
        self.result: asyncio.Future[Mapping[Id, Outcome]] = asyncio.get_running_loop().create_future()

    def answer(self, outcomes: Mapping[Id, Outcome] | None = None) -> None:
        """Every id gets a resource that names it, or what `outcomes` says."""
        self.result.set_result({id_: resource(id_) for id_ in self.ids} if outcomes is None else outcomes)

    def fail(self, error: BaseException) -> None:
        self.result.set_exception(error)


def resource(id_: str) -> bytes:
    return f"rating of {id_}".encode()


class Runway(Tasks):
    """Tells when a batch departs, which is before its load begins."""

    on_departure: Callable[[], None]

    def spawn(self, name: str, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        self.on_departure()
        return super().spawn(name, work)


class Airfield:
    """Flights over loads that the test ends, and a record of what was stored."""

    def __init__(
        self,
        *,
        window: float = 0.0,
        size: int = 100,
        fetch_seconds: float = 10.0,
        on_departure: Callable[[], None] = lambda: None,
    ) -> None:
        self.loads: list[Loading] = []
        self.stored: list[tuple[Partition, Any, dict[Id, Resource]]] = []
        self.bugs: list[BaseException] = []
        self.size = size
        self.clock = HandClock()
        self.metrics = Metrics()
        self.tasks = Runway(lambda _, error: self.bugs.append(error))
        self.tasks.on_departure = on_departure
        self.flights = SingleFlight(
            self._load,
            self._store,
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
        """Every load so far, when there are `count` of them."""
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

    def _store(self, partition: Partition, ticket: Any, resources: Mapping[Id, Resource]) -> None:
        self.stored.append((partition, ticket, dict(resources)))


async def quiet(rounds: Iterable[int] = range(20)) -> None:
    """Let everything run that can run now."""
    for _ in rounds:
        await asyncio.sleep(0)
