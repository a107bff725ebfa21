"""The nodes of a cluster, and the map of its slots."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Self

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, ResponseError

from gateway.breaker import State
from gateway.cache.redis.connect import Opener, first_attempt
from gateway.cache.redis.connection import RedisConnection
from gateway.cache.redis.dispatcher import Dispatcher
from gateway.cache.redis.errors import NAMED_REASONS, FailureKind, RedisFailed, described, failure_kind
from gateway.cache.redis.url import Address
from gateway.tasks import Tasks

REFRESH_SECONDS = 0.25
"""Interval in seconds between requests for the slot map while it may be outdated."""
MAP_SECONDS = 0.5
"""Timeout in seconds for one node to return the slot map; then the next is asked."""

OnChange = Callable[[], None]
OnFailure = Callable[[Exception], object]


class Cluster:
    """The masters of a cluster. The slot map is fetched again when a node is lost or redirects.

    Also until every slot has a node, and while a node refuses writes: it may have become a replica.
    """

    def __init__(self, opener: Opener, tasks: Tasks, on_change: OnChange, on_failure: OnFailure) -> None:
        self._opener = opener
        self._tasks = tasks
        self._on_change = on_change
        self._on_failure = on_failure
        self._nodes: dict[Address, Dispatcher] = {}
        self._slots: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._map_error: Exception | None = None
        """Why the last node that was asked for the slot map did not return it."""
        self._stale = asyncio.Event()
        self._tried = asyncio.Event()

    @property
    def state(self) -> State:
        return max((node.state for node in self._nodes.values()), default=State.OPEN)

    @property
    def reason(self) -> str | None:
        if not self._nodes:
            return None if self._map_error is None else described(self._map_error)
        return next((node.reason for node in self._nodes.values() if node.state is self.state), None)

    def route(self, key: str) -> Dispatcher:
        address = self._slots[key_slot(key.encode())]
        if address is None:
            self._stale.set()
            kind = FailureKind.CONNECTION if self._map_error is None else failure_kind(self._map_error)
            raise RedisFailed(kind if kind in NAMED_REASONS else FailureKind.CONNECTION)
        return self._nodes[address]

    def everywhere(self) -> Sequence[Dispatcher]:
        return list(self._nodes.values())

    def redirected(self, error: ResponseError) -> tuple[Dispatcher, bool] | None:
        if isinstance(error, ClusterDownError):
            self._stale.set()
        if not isinstance(error, AskError):
            return None
        node = self._nodes.get(Address(error.host, error.port))
        moved = isinstance(error, MovedError)
        if moved or node is None:
            self._stale.set()
        if node is None:
            return None
        if moved:
            self._slots[error.slot_id] = Address(error.host, error.port)
        return node, not moved

    async def open_subscription(self) -> RedisConnection:
        up = [address for address, node in self._nodes.items() if node.up]
        return await self._opener.open(next(iter(up), None))

    async def drained(self, seconds: float) -> None:
        await asyncio.gather(*(node.drained(seconds) for node in self._nodes.values()))

    async def __aenter__(self) -> Self:
        """Start. Returns when every node was tried once, after FIRST_ATTEMPT_SECONDS at most."""
        self._task = self._tasks.spawn("redis cluster map", self._keep_fresh())
        await first_attempt(self._tried)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        for node in self._nodes.values():
            await node.__aexit__()

    async def _keep_fresh(self) -> None:
        while True:
            self._stale.clear()
            if not await self._refresh() or not self._whole():
                self._stale.set()
            self._tried.set()
            await asyncio.sleep(REFRESH_SECONDS)
            await self._stale.wait()

    async def _refresh(self) -> bool:
        """Adopt the slot map of the first node that returns one; False if none does.

        The map of a node that has not joined a cluster yet is empty: the next node is asked.
        """
        up = [address for address, node in self._nodes.items() if node.up]
        for address in dict.fromkeys([*up, *self._opener.url.addresses, *self._nodes]):
            try:
                ranges = await self._slot_map(address)
            except Exception as error:  # noqa: BLE001 - any failure: the next node may answer
                self._map_error = error
                continue
            self._map_error = None
            if ranges:
                await self._adopt(ranges)
                return True
        if self._map_error is not None and not self._nodes:  # nodes report their own failures
            self._on_failure(self._map_error)
            self._on_change()
        return False

    async def _slot_map(self, address: Address) -> list[tuple[int, int, Address]]:
        async with (
            asyncio.timeout(MAP_SECONDS),
            self._opener.visit(address, seconds=MAP_SECONDS) as connection,
        ):
            return slot_ranges(await connection.execute("CLUSTER", "SLOTS"), address)

    async def _adopt(self, ranges: list[tuple[int, int, Address]]) -> None:
        wanted = {address for _, _, address in ranges}
        new = {address: self._dispatcher(address) for address in sorted(wanted - self._nodes.keys())}
        await asyncio.gather(*(node.__aenter__() for node in new.values()))
        self._nodes |= new
        slots: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        for first, last, address in ranges:
            slots[first : last + 1] = [address] * (last + 1 - first)
        self._slots = slots
        for address in self._nodes.keys() - wanted:
            await self._nodes.pop(address).__aexit__()
        self._on_change()

    def _dispatcher(self, address: Address) -> Dispatcher:
        return Dispatcher(
            str(address),
            lambda: self._opener.open(address),
            self._tasks,
            on_change=self._node_changed,
            on_failure=self._on_failure,
        )

    def _node_changed(self) -> None:
        if not self._nodes:
            return  # the first map is being adopted; `_adopt` reports once all nodes were tried
        if not self._all_take_writes():
            self._stale.set()
        self._on_change()

    def _whole(self) -> bool:
        """Whether every slot has a node, and all of them take writes."""
        return None not in self._slots and self._all_take_writes()

    def _all_take_writes(self) -> bool:
        """False while a node is away, or was demoted to a replica and refuses writes."""
        return all(node.takes_writes for node in self._nodes.values())


def slot_ranges(reply: Any, asked: Address) -> list[tuple[int, int, Address]]:
    """First slot, last slot and master of each range. A node without a host is the one that was asked."""
    return [
        (int(first), int(last), Address(master[0].decode() if master[0] else asked.host, int(master[1])))
        for first, last, master, *_ in reply
    ]
