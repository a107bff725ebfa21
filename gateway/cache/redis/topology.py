"""Maps keys to nodes: one server, Sentinel's master, or the nodes of a cluster."""

import asyncio
import contextlib
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from redis.exceptions import ResponseError

from gateway.breaker import State
from gateway.cache.redis.cluster import Cluster, OnChange, OnFailure
from gateway.cache.redis.connect import Opener
from gateway.cache.redis.connection import RedisConnection
from gateway.cache.redis.dispatcher import Dispatcher
from gateway.cache.redis.errors import FailureKind
from gateway.tasks import Tasks

WATCH_SECONDS = 1.0
"""Interval in seconds between requests to Sentinel for the current master."""


class Topology(Protocol):
    """Has a dispatcher for every key. An async context manager that connects and closes them."""

    @property
    def state(self) -> State:
        """The worst state among the dispatchers."""
        ...

    @property
    def reason(self) -> str | None:
        """Why `state` is open, for the log: see `Dispatcher.reason`."""
        ...

    def route(self, key: str) -> Dispatcher:
        """The dispatcher for `key`. Raises RedisFailed if the slot map has no node for it."""
        ...

    def everywhere(self) -> Sequence[Dispatcher]:
        """The dispatcher of every node."""
        ...

    def redirected(self, error: ResponseError) -> tuple[Dispatcher, bool] | None:
        """Where an error reply redirects to, and whether ASKING must precede each command."""
        ...

    async def open_subscription(self) -> RedisConnection:
        """A new connection that receives every publication once it subscribes."""
        ...

    async def drained(self, seconds: float) -> None:
        """Wait until no request is under way, for `seconds` at most."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def build_topology(opener: Opener, tasks: Tasks, on_change: OnChange, on_failure: OnFailure) -> Topology:
    """The topology that the opener's URL names.

    `on_change` is called when its `state` or `reason` may have changed, `on_failure` with the error of each
    attempt to connect that failed.
    """
    if opener.url.scheme == "redis+cluster":
        return Cluster(opener, tasks, on_change, on_failure)
    return Single(opener, tasks, on_change, on_failure)


class Single:
    """One server; with Sentinel the current master, which changes in a failover."""

    def __init__(self, opener: Opener, tasks: Tasks, on_change: OnChange, on_failure: OnFailure) -> None:
        self._opener = opener
        self._tasks = tasks
        self._of_sentinel = opener.url.scheme == "redis+sentinel"
        self._open = opener.open_master if self._of_sentinel else opener.open
        self._dispatcher = Dispatcher(
            "",
            self._open,
            tasks,
            on_change=on_change,
            on_failure=on_failure,
            reopen_on_readonly=self._of_sentinel,
        )
        self._watching: list[asyncio.Task[None]] = []

    @property
    def state(self) -> State:
        return self._dispatcher.state

    @property
    def reason(self) -> str | None:
        return self._dispatcher.reason

    def route(self, key: str) -> Dispatcher:
        del key
        return self._dispatcher

    def everywhere(self) -> Sequence[Dispatcher]:
        return [self._dispatcher]

    def redirected(self, error: ResponseError) -> None:
        del error

    async def open_subscription(self) -> RedisConnection:
        return await self._open()

    async def drained(self, seconds: float) -> None:
        await self._dispatcher.drained(seconds)

    async def __aenter__(self) -> Self:
        await self._dispatcher.__aenter__()
        if self._of_sentinel:
            self._watching = [self._tasks.spawn("redis master", self._watch_master())]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._watching:
            task.cancel()
            await asyncio.wait([task])
        await self._dispatcher.__aexit__()

    async def _watch_master(self) -> None:
        """Leave a replaced master at once: Sentinel lets it accept writes for some seconds more."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            with contextlib.suppress(Exception):
                if await self._opener.is_master_replaced():
                    self._dispatcher.reset(FailureKind.READONLY)
