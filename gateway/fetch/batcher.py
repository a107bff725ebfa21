"""Gathers the misses of one partition for a moment, so that they become one call to Apple.

A batch is dispatched when its window ends or when it is full. Until then any request may join it: its call
will begin after that request looked at the cache.
"""

import asyncio
from collections.abc import Callable, Hashable, Mapping

from gateway.fetch.wait import FetchWait
from gateway.fill_token import FillToken
from gateway.model import Id, Partition, PartitionKey, Priority
from gateway.waiters import Requester, Waiters


class Fetch:
    """One id being fetched, and the requests that wait for it."""

    __slots__ = ("batch", "keep", "stamp", "token", "waiting")

    batch: "Batch"

    def __init__(self, waiting: list[FetchWait], stamp: Hashable, token: FillToken, *, keep: bool) -> None:
        self.waiting = waiting
        self.stamp = stamp
        self.token = token
        self.keep = keep
        """Whether the result may be stored."""


class BatchRiders:
    """See `Riders`."""

    __slots__ = ("failed", "fetches")

    def __init__(self) -> None:
        self.fetches: dict[Id, Fetch] = {}
        self.failed = False

    @property
    def ids(self) -> list[Id]:
        return list(self.fetches)

    def asked(self) -> list[Id]:
        return [id_ for id_, fetch in self.fetches.items() if fetch.waiting]


class Batch:
    """The fetches of one partition that become one call."""

    __slots__ = ("dispatched", "due", "fetches", "partition", "riders", "timer", "waiters")

    def __init__(self, partition: Partition, waiters: Waiters, timer: asyncio.TimerHandle) -> None:
        self.partition = partition
        self.waiters = waiters
        self.timer = timer
        self.fetches: dict[Id, Fetch] = {}
        self.due: dict[Id, FillToken] = {}
        """Cached ids that may fill its free seats, the most useful first."""
        self.riders = BatchRiders()
        self.dispatched = False


class Batcher:
    """The batches that are gathering, at most one per partition.

    `size()` is the most ids of one call; `dispatch` is called once for each batch.
    """

    def __init__(
        self, dispatch: Callable[[Batch], None], *, window_seconds: float, size: Callable[[], int]
    ) -> None:
        self._dispatch = dispatch
        self._window = window_seconds
        self._size = size
        self._gathering: dict[PartitionKey, Batch] = {}

    def add(
        self,
        partition: Partition,
        fetches: Mapping[Id, Fetch],
        priority: Priority,
        requester: Requester,
        due: Mapping[Id, FillToken],
    ) -> None:
        """Add ids that are in no gathering batch; every batch that they fill is dispatched now.

        `due` are cached ids that may fill the free seats of the last one.
        """
        key, size = partition.key, self._size()
        batch = self._gathering.get(key)
        if batch is not None and fetches:
            batch.waiters.join(priority, requester)
        for id_, fetch in fetches.items():
            if batch is None:
                batch = self._open(key, partition, Waiters(priority, requester))
            batch.fetches[id_] = fetch
            fetch.batch = batch
            if len(batch.fetches) >= size:
                self._release(key)
                batch = None
        if batch is not None:
            batch.due |= due

    def close(self) -> list[Batch]:
        """Stop gathering; return the batches that will not be dispatched."""
        left = list(self._gathering.values())
        for batch in left:
            batch.timer.cancel()
        self._gathering.clear()
        return left

    def _open(self, key: PartitionKey, partition: Partition, waiters: Waiters) -> Batch:
        timer = asyncio.get_running_loop().call_later(self._window, self._release, key)
        batch = self._gathering[key] = Batch(partition, waiters, timer)
        return batch

    def _release(self, key: PartitionKey) -> None:
        batch = self._gathering.pop(key)
        batch.timer.cancel()
        batch.dispatched = True
        self._dispatch(batch)
