"""Flights: an id of one user, kind and variant is fetched at most once at a time, whoever asks for it.

The road of a miss:
1. `join` boards an id that is in flight, where its fetch is young enough for the asker, and begins a flight
   for every other id. Flights of one partition gather in a batch (see `batches`).
2. A batch departs: a task of its own loads its ids, under its own deadline. No caller's departure ends it.
3. It lands, in one synchronous step: what was fetched is stored, the flights leave the table, and then
   everybody who waits is told. So whoever looks in the cache and joins in one step finds either the fill or
   the flight.
"""

import asyncio
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

from gateway.clock import Clock
from gateway.errors import DeadlineExceeded, GatewayError, NoCapacity
from gateway.fetch.batcher import Batch, Batcher, Flight
from gateway.fetch.pending import Outcome, PendingFetch
from gateway.model import Id, Kind, Partition, Priority, Resource, Variant
from gateway.tasks import Tasks
from gateway.telemetry.metrics import Metrics
from gateway.waiters import Requester, Waiters

GRACE: Final = 1.0
"""Seconds after which a load that does not end is cancelled: no id may be in flight for ever."""


class Load(Protocol):
    """Fetches ids of one partition: for each its resource or a failure.

    No call begins after `deadline` (monotonic seconds); one may take its own time beyond it.
    """

    async def __call__(
        self, partition: Partition, ids: Sequence[Id], /, *, waiters: Waiters, deadline: float
    ) -> Mapping[Id, Outcome]: ...


Store = Callable[[Partition, Any, Mapping[Id, Resource]], None]
"""Keeps what was fetched for a ticket; must not wait."""


class SingleFlight:
    """The table of ids in flight.

    `size()` is the most ids of one call, `window_seconds` how long a batch gathers, `fetch_seconds` how long
    its load may begin calls, retries and all, and `call_seconds` how long one of them may take.
    """

    def __init__(
        self,
        load: Load,
        store: Store,
        *,
        size: Callable[[], int],
        window_seconds: float,
        fetch_seconds: float,
        call_seconds: float,
        tasks: Tasks,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._load = load
        self._store = store
        self._fetch_seconds = fetch_seconds
        self._longest_seconds = fetch_seconds + call_seconds + GRACE
        self._tasks = tasks
        self._now = clock.monotonic
        self._coalesced = metrics.coalesced_ids
        self._batches = Batcher(self._depart, window_seconds=window_seconds, size=size)
        self._table: dict[tuple[bytes, Kind], dict[Variant, dict[Id, Flight]]] = {}

    def join(
        self,
        partition: Partition,
        ids: Sequence[Id],
        *,
        ticket: Any,
        marks: Mapping[Id, Hashable],
        keep: bool,
        priority: Priority,
        requester: Requester,
    ) -> PendingFetch:
        """Have `ids` (distinct) fetched, each together with whoever is fetching it already.

        A fetch that is under way is joined where its mark is the same: an id whose mark has changed was
        written since. `ticket` goes to `store` with what is fetched, if anybody who wants it lets it be kept.
        """
        aloft = self._table.setdefault((partition.user.key, partition.kind), {}).setdefault(
            partition.variant, {}
        )
        waiter = PendingFetch(len(ids), self._now)
        joined: set[Batch] = set()
        begun: dict[Id, Flight] = {}
        for id_ in ids:
            mark = marks.get(id_)
            flight = aloft.get(id_)
            if flight is None or (flight.mark != mark and flight.batch.departed):
                flight = aloft[id_] = begun[id_] = Flight(waiter, mark, ticket, keep=keep)
                continue
            flight.waiters.append(waiter)
            joined.add(flight.batch)
            if not flight.batch.departed:
                # Its call will begin after the latest asker's look at the cache.
                flight.mark = mark
                if keep or not flight.keep:
                    flight.ticket = ticket
            flight.keep |= keep
        for batch in joined:
            batch.demand.join(priority, requester)
        self._batches.board(partition, begun, priority, requester)
        waiter.collapsed = len(ids) - len(begun)
        self._coalesced.inc(waiter.collapsed)
        return waiter

    def flying(self, partition: Partition, id_: Id) -> bool:
        """Whether somebody is having this id fetched, in a flight that may still be joined."""
        return id_ in self._table.get((partition.user.key, partition.kind), {}).get(partition.variant, {})

    def detach(self, user_key: bytes, kind: Kind | None, ids: Iterable[Id] | None) -> None:
        """Let nobody join what was under way before this moment, a write or purge of these ids (None: all).

        In every variant. Those flights run on for who waits for them; what only gathers may still be joined.
        """
        listed = None if ids is None else set(ids)
        for each in Kind if kind is None else (kind,):
            for aloft in self._table.get((user_key, each), {}).values():
                for id_ in list(aloft if listed is None else listed & aloft.keys()):
                    if aloft[id_].batch.departed:
                        del aloft[id_]

    def close(self) -> None:
        """Fail what has not departed. What has is ended by its task."""
        for batch in self._batches.close():
            self._land(batch, dict.fromkeys(batch.flights, NoCapacity(_CLOSING)))

    def _depart(self, batch: Batch) -> None:
        # The landing hangs on the task's end and is not part of it: cancelled before its first step, a task
        # runs none of its own code.
        self._tasks.spawn("fetch", self._fly(batch)).add_done_callback(partial(self._landed, batch))

    async def _fly(self, batch: Batch) -> Mapping[Id, Outcome]:
        deadline = self._now() + self._fetch_seconds
        async with asyncio.timeout(self._longest_seconds):
            return await self._load(
                batch.partition, list(batch.flights), waiters=batch.demand, deadline=deadline
            )

    def _landed(self, batch: Batch, task: asyncio.Task[Mapping[Id, Outcome]]) -> None:
        if task.cancelled():
            failure: GatewayError = NoCapacity(_CLOSING)
        elif (error := task.exception()) is None:
            found, lost = task.result(), GatewayError("The fetch left this id out.")
            self._land(batch, {id_: found.get(id_, lost) for id_ in batch.flights})
            return
        elif isinstance(error, TimeoutError):
            failure = DeadlineExceeded("Apple Music did not answer in time.")
        else:
            failure = error if isinstance(error, GatewayError) else GatewayError("The fetch failed.")
        self._land(batch, dict.fromkeys(batch.flights, failure))

    def _land(self, batch: Batch, outcomes: Mapping[Id, Outcome]) -> None:
        try:
            for ticket, resources in _kept(batch, outcomes):
                self._store(batch.partition, ticket, resources)
        finally:
            self._batches.landed(batch)
            self._leave_table(batch)
            for id_, flight in batch.flights.items():
                for waiter in flight.waiters:
                    waiter.settle(id_, outcomes[id_])
            # Flights point back to their batch: only the garbage collector would free them, all at once.
            batch.flights.clear()

    def _leave_table(self, batch: Batch) -> None:
        partition = batch.partition
        variants = self._table.get((partition.user.key, partition.kind), {})
        aloft = variants.get(partition.variant, {})
        for id_, flight in batch.flights.items():
            if aloft.get(id_) is flight:
                del aloft[id_]
        if not aloft:
            variants.pop(partition.variant, None)
        if not variants:
            self._table.pop((partition.user.key, partition.kind), None)


def _kept(batch: Batch, outcomes: Mapping[Id, Outcome]) -> Iterable[tuple[Any, dict[Id, Resource]]]:
    """What is to be stored, by ticket; tickets are told apart by identity."""
    groups: dict[int, tuple[Any, dict[Id, Resource]]] = {}
    for id_, flight in batch.flights.items():
        outcome = outcomes[id_]
        if flight.keep and not isinstance(outcome, GatewayError):
            groups.setdefault(id(flight.ticket), (flight.ticket, {}))[1][id_] = outcome
    return groups.values()


_CLOSING = "The gateway is shutting down."
