"""One connection to one Redis node, shared by all: what waits is sent at once, replies are read in order.

A caller gets a future and may leave it at any time: nothing that a caller does reaches the connection. The
connection is redis-py's (authentication, TLS, unix sockets); when and what is sent and read is decided here.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Self

import msgspec
from hiredis import pack_command
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ReadOnlyError

from gateway.breaker import Admission, Breaker, State
from gateway.cache.redis.closing import give_up
from gateway.cache.redis.errors import Failed, FailureKind, kind_of
from gateway.cache.redis.replies import micros, next_reply
from gateway.tasks import Tasks

Open = Callable[[], Awaitable[AbstractConnection]]
"""Gives a connection that has answered already; raises anything."""

STALL_SECONDS = 1.0
"""A reply that is this late will not come: the connection is given up."""
GRACE_SECONDS = 0.001
"""Between the end of a request's time and its failure: for the event loop to take in what has come."""
BACKOFF_SECONDS = (0.0, 0.05, 0.1, 0.2, 0.4)
"""Waits between attempts to connect; the last repeats. With a connect timeout of 1 s: back within 2 s."""
MAX_PENDING_BYTES = 32 * 1024 * 1024
REQUEST_BYTES = 1024
"""What a pending request costs besides its own bytes."""


def pack(*parts: str | bytes | int) -> bytes:
    """A command as it goes over the wire."""
    packed: bytes = pack_command(parts)  # type: ignore[arg-type]  # its stub knows tuples of one only
    return packed


_TIME = pack("TIME")


class Replies(msgspec.Struct, frozen=True):
    """Replies to one request; error replies are among them as exceptions."""

    micros: int
    """Redis' own time when it came to the requests sent along with this one, µs since 1970."""
    replies: list[Any]


class _Request:
    __slots__ = ("admission", "cost", "count", "future", "packed", "timeout")

    def __init__(
        self,
        packed: bytes,
        count: int,
        timeout: float,
        admission: Admission | None,
        future: "asyncio.Future[Replies]",
    ) -> None:
        self.packed = packed
        self.count = count
        self.timeout = timeout
        self.admission = admission
        self.future = future
        self.cost = len(packed) + REQUEST_BYTES

    def fail(self, kind: FailureKind) -> None:
        if not self.future.done():
            self.future.set_exception(Failed(kind))
            self.future.exception()  # a caller that leaves at this very moment leaves nothing to complain of


class _Batch:
    __slots__ = ("requests", "unread")

    def __init__(self, requests: list[_Request]) -> None:
        self.requests = requests
        self.unread = True


class Dispatcher:
    """Asks one node. Where it is away, or slow beyond bearing, asking fails at once and costs nothing.

    `on_change` is called after every change of `state`.
    """

    def __init__(
        self,
        name: str,
        open_connection: Open,
        tasks: Tasks,
        *,
        on_change: Callable[[], None],
        reopen_on_readonly: bool = False,
    ) -> None:
        self.name = name
        self._open = open_connection
        self._tasks = tasks
        self._on_change = on_change
        self._reopen_on_readonly = reopen_on_readonly
        self._breaker = Breaker(
            error_rate=0.5,
            window_seconds=2.0,
            min_calls=10,
            open_seconds=1.0,
            on_change=lambda _state: on_change(),
        )
        self._waiting: list[_Request] = []
        self._sent: deque[_Batch] = deque()
        self._pending_bytes = 0
        self._wake = asyncio.Event()
        self._tried = asyncio.Event()
        self._broken: asyncio.Future[FailureKind] | None = None
        self._served = False
        self._away = FailureKind.UNAVAILABLE
        self._loop = asyncio.get_running_loop()

    @property
    def up(self) -> bool:
        """Whether there is a connection."""
        return self._broken is not None

    @property
    def state(self) -> State:
        """How asking stands: open (fails at once) without a connection, else the breaker's state."""
        return self._breaker.state if self.up else State.OPEN

    async def __aenter__(self) -> Self:
        """Start; returns when the first attempt to connect has ended, whichever way."""
        self._task = self._tasks.spawn(f"redis {self.name}", self._run())
        await self._tried.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    def ask(self, packed: bytes, count: int, *, timeout: float, guarded: bool) -> asyncio.Future[Replies]:
        """Send `count` packed commands together; `timeout` (seconds) counts from when they are sent.

        Guarded requests are refused while the breaker is open and tell it how they ended. Raises Failed where
        it is not even tried; the future fails with Failed. What timed out may be carried out all the same.
        """
        if self._broken is None:
            raise Failed(self._away)
        if self._pending_bytes > MAX_PENDING_BYTES:
            raise Failed(FailureKind.OVERFLOW)
        admission = None
        if guarded and (admission := self._breaker.admit(self._loop.time())) is None:
            raise Failed(FailureKind.UNAVAILABLE)
        request = _Request(packed, count, timeout, admission, self._loop.create_future())
        self._pending_bytes += request.cost
        self._waiting.append(request)
        self._wake.set()
        return request.future

    def reset(self, kind: FailureKind) -> None:
        """Give the connection up and open another: what comes over this one is not trusted any more."""
        if self._broken is not None and not self._broken.done():
            self._broken.set_result(kind)

    async def _run(self) -> None:
        failures = 0
        try:
            while True:
                kind = await self._connection_life()
                self._drop_all(kind)
                # These two will not pass by themselves, or not soon: whoever looks at the counts should know.
                named = kind in {FailureKind.DENIED, FailureKind.LOADING}
                self._away = kind if named else FailureKind.UNAVAILABLE
                failures = 0 if self._served else min(failures + 1, len(BACKOFF_SECONDS) - 1)
                await asyncio.sleep(BACKOFF_SECONDS[failures])
        finally:
            self._drop_all(FailureKind.UNAVAILABLE)

    async def _connection_life(self) -> FailureKind:
        """Connect and serve until that ends; returns why it ended."""
        self._served = False
        try:
            connection = await self._open()
        except Exception as error:  # noqa: BLE001 - redis-py lets more than its own errors out
            return kind_of(error)
        finally:
            self._tried.set()
        self._broken = self._loop.create_future()
        self._on_change()
        working = [
            self._tasks.spawn(f"redis send {self.name}", _ending(self._send(connection))),
            self._tasks.spawn(f"redis read {self.name}", _ending(self._read(connection))),
        ]
        cancelled = True
        try:
            # No TaskGroup: it loses a cancellation that meets a failing task.
            ended, _ = await asyncio.wait([*working, self._broken], return_when=asyncio.FIRST_COMPLETED)
            cancelled = False
            return ended.pop().result()
        finally:
            self._broken = None
            if not cancelled:  # that this gateway lets go is no news of Redis
                self._on_change()
            for task in working:
                task.cancel()
            await give_up(connection)
            await asyncio.wait(working)

    async def _send(self, connection: AbstractConnection) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch, self._waiting = _Batch(self._waiting), []
            self._sent.append(batch)
            for timeout in {request.timeout for request in batch.requests}:
                self._loop.call_later(timeout, self._expire, batch, timeout)
            packed = [_TIME, *[request.packed for request in batch.requests]]
            await connection.send_packed_command(packed, check_health=False)

    async def _read(self, connection: AbstractConnection) -> None:
        while True:
            now = micros(await next_reply(connection))
            if not self._sent:
                raise Failed(FailureKind.PROTOCOL)
            self._served = True
            batch = self._sent[0]
            for request in batch.requests:
                replies = [await next_reply(connection) for _ in range(request.count)]
                self._settle(request, Replies(now, replies))
            batch.unread = False
            self._sent.popleft()

    def _settle(self, request: _Request, answer: Replies) -> None:
        self._pending_bytes -= request.cost
        self._record(request, ok=True)
        if not request.future.done():
            request.future.set_result(answer)
        if self._reopen_on_readonly and any(isinstance(reply, ReadOnlyError) for reply in answer.replies):
            raise Failed(FailureKind.READONLY)

    def _expire(self, batch: _Batch, timeout: float) -> None:
        if batch.unread:
            # Where it was this process that was late, the replies are here: they are read first.
            self._loop.call_later(GRACE_SECONDS, self._let_go, batch, timeout)

    def _let_go(self, batch: _Batch, timeout: float) -> None:
        """Fail the requests whose time is up; their replies are still read when they come, and dropped.

        What waits behind a send that does not get through shares the fate of what was sent.
        """
        if not batch.unread:
            return
        for request in [*batch.requests, *self._waiting]:
            if request.timeout <= timeout and not request.future.done():
                request.fail(FailureKind.TIMEOUT)
                self._record(request, ok=False)
        self._loop.call_later(max(0.0, STALL_SECONDS - timeout), self._give_up, batch)

    def _give_up(self, batch: _Batch) -> None:
        if batch.unread:
            self.reset(FailureKind.TIMEOUT)

    def _record(self, request: _Request, *, ok: bool) -> None:
        if request.admission is not None:
            self._breaker.record(request.admission, ok=ok, now=self._loop.time())
            request.admission = None

    def _drop_all(self, kind: FailureKind) -> None:
        batches = [*self._sent, _Batch(self._waiting)]
        self._sent.clear()
        self._waiting = []
        self._wake.clear()
        self._pending_bytes = 0
        for batch in batches:
            batch.unread = False
            for request in batch.requests:
                if request.admission is not None:
                    self._breaker.forget(request.admission)
                request.fail(kind)


async def _ending(work: Coroutine[Any, Any, None]) -> FailureKind:
    """Why the work ended, which by itself it never does."""
    try:
        await work
    except Exception as error:  # noqa: BLE001 - redis-py lets more than its own errors out
        return kind_of(error)
    return FailureKind.CONNECTION
