"""Misses of one partition gather for a moment, so that they become one call.

A batch departs when its window ends or when it is full. Until then anybody may come aboard: the call will
begin after they asked.

Callers who come all at once come over tens of milliseconds, and each batch that leaves with a few ids is a
call more. So a window that has ended begins anew while ids keep coming, and while a call that was not full is
under way for the same partition, for `PATIENCE` in all.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final

from gateway.fetch.pending import PendingFetch
from gateway.model import Id, Partition, PartitionKey, Priority
from gateway.waiters import Requester, Waiters

PATIENCE: Final = 0.05
"""Seconds that a batch gathers at most, unless its first window is longer."""


class Flight:
    """One id on its way, and everybody who waits for it."""

    __slots__ = ("batch", "keep", "mark", "ticket", "waiters")

    batch: "Batch"

    def __init__(self, waiter: PendingFetch, mark: Hashable, ticket: Any, *, keep: bool) -> None:
        self.waiters = [waiter]
        self.mark = mark
        self.ticket = ticket
        self.keep = keep


class Batch:
    """Flights of one partition that become one call."""

    __slots__ = ("demand", "departed", "flights", "full", "grown", "partition", "timer")

    def __init__(self, partition: Partition, demand: Waiters, timer: asyncio.TimerHandle) -> None:
        self.partition = partition
        self.demand = demand
        self.timer = timer
        self.flights: dict[Id, Flight] = {}
        self.full = False
        self.grown = False
        """Whether anybody brought more ids since its window began."""
        self.departed = False


class Batcher:
    """The batches that are gathering, at most one per partition.

    `size` is asked for the most ids of one call whenever ids come; `depart` is called once for each batch.
    """

    def __init__(
        self, depart: Callable[[Batch], None], *, window_seconds: float, size: Callable[[], int]
    ) -> None:
        self._depart = depart
        self._window = window_seconds
        self._size = size
        self._gathering: dict[PartitionKey, Batch] = {}
        self._small: Counter[PartitionKey] = Counter()
        """Batches under way that were not full."""

    def board(
        self, partition: Partition, flights: Mapping[Id, Flight], priority: Priority, requester: Requester
    ) -> None:
        """Take ids that are in no gathering batch; every batch that they fill departs now."""
        key = partition.key
        size = self._size()
        batch = self._gathering.get(key)
        if batch is not None and flights:
            batch.demand.join(priority, requester)
            batch.grown = True
        for id_, flight in flights.items():
            if batch is None:
                batch = self._open(key, partition, Waiters(priority, requester))
            batch.flights[id_] = flight
            flight.batch = batch
            if len(batch.flights) >= size:
                batch.full = True
                self._release(key)
                batch = None

    def landed(self, batch: Batch) -> None:
        """A batch is not under way any more."""
        if batch.departed and not batch.full:
            key = batch.partition.key
            self._small[key] -= 1
            if not self._small[key]:
                del self._small[key]

    def close(self) -> list[Batch]:
        """Stop gathering; returns the batches that will not depart."""
        left = list(self._gathering.values())
        for batch in left:
            batch.timer.cancel()
        self._gathering.clear()
        return left

    def _open(self, key: PartitionKey, partition: Partition, demand: Waiters) -> Batch:
        loop = asyncio.get_running_loop()
        latest = loop.time() + (PATIENCE if self._window else 0.0)
        timer = loop.call_later(self._window, self._window_ended, key, latest)
        batch = self._gathering[key] = Batch(partition, demand, timer)
        return batch

    def _window_ended(self, key: PartitionKey, latest: float) -> None:
        batch = self._gathering[key]
        loop = asyncio.get_running_loop()
        if loop.time() + self._window < latest and (batch.grown or self._small[key]):
            batch.grown = False
            batch.timer = loop.call_later(self._window, self._window_ended, key, latest)
        else:
            self._release(key)

    def _release(self, key: PartitionKey) -> None:
        batch = self._gathering.pop(key)
        batch.timer.cancel()
        batch.departed = True
        if not batch.full:
            self._small[key] += 1
        self._depart(batch)
