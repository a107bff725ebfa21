"""Gathers the misses of one partition for a moment, so that they become one call to Apple.

A batch is dispatched when its window ends or when it is full. Full ones are paced, few in each turn of the
event loop, because a large request fills a hundred and the start of a call takes time. Until a batch is
dispatched any request may join it: its call will begin after that request looked at the cache.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from typing import Final

from gateway.fetch.wait import FetchWait
from gateway.fill_token import FillToken
from gateway.model import Id, Partition, PartitionKey
from gateway.turn_limit import TurnLimit
from gateway.waiters import Requester, Waiters

PER_TURN: Final = 6
"""Full batches are dispatched while fewer than this were in the same turn of the event loop."""


class Fetch:
    """One id being fetched, and the requests that wait for it."""

    __slots__ = ("batch", "keep", "stamp", "token", "waits")

    batch: "Batch"

    def __init__(self, waits: list[FetchWait], stamp: Hashable, token: FillToken, *, keep: bool) -> None:
        self.waits = waits
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
        return [id_ for id_, fetch in self.fetches.items() if fetch.waits]


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
    """The batches that are gathering, at most one per partition, and full ones that wait for the next turn.

    `size()` is the most ids of one call; `dispatch` is called once for each batch.
    """

    def __init__(
        self, dispatch: Callable[[Batch], None], *, window_seconds: float, size: Callable[[], int]
    ) -> None:
        self._dispatch = dispatch
        self._window = window_seconds
        self._size = size
        self._gathering: dict[PartitionKey, Batch] = {}
        self._full: deque[Batch] = deque()
        self._turn = TurnLimit(PER_TURN, self._dispatch_full)

    def add(
        self,
        partition: Partition,
        fetches: Mapping[Id, Fetch],
        requester: Requester,
        due: Mapping[Id, FillToken],
    ) -> None:
        """Add ids that are in no batch; those that they fill are dispatched now, or from the next turn on.

        `due` are cached ids that may fill the free seats of the last one.
        """
        key, size = partition.key, self._size()
        batch = self._gathering.get(key)
        if batch is not None and fetches:
            batch.waiters.join(requester)
        for id_, fetch in fetches.items():
            if batch is None:
                batch = self._open(key, partition, Waiters(requester))
            batch.fetches[id_] = fetch
            fetch.batch = batch
            if len(batch.fetches) >= size:
                self._full.append(self._gathered(key))
                batch = None
        self._dispatch_full()
        if batch is not None:
            batch.due |= due

    def close(self) -> list[Batch]:
        """Stop gathering; return the batches that will not be dispatched."""
        left = [*self._full, *self._gathering.values()]
        for batch in left:
            batch.timer.cancel()
        self._gathering.clear()
        self._full.clear()
        return left

    def _open(self, key: PartitionKey, partition: Partition, waiters: Waiters) -> Batch:
        timer = asyncio.get_running_loop().call_later(self._window, self._window_ended, key)
        batch = self._gathering[key] = Batch(partition, waiters, timer)
        return batch

    def _gathered(self, key: PartitionKey) -> Batch:
        batch = self._gathering.pop(key)
        batch.timer.cancel()
        return batch

    def _window_ended(self, key: PartitionKey) -> None:
        # At once: the batches of small requests do not wait behind those that a large one has filled.
        self._dispatch_now(self._gathered(key))

    def _dispatch_full(self) -> None:
        while self._full and not self._turn.reached:
            self._dispatch_now(self._full.popleft())

    def _dispatch_now(self, batch: Batch) -> None:
        self._turn.count()
        batch.dispatched = True
        self._dispatch(batch)
