"""Pipelines all callers' requests over one connection to one Redis node, and reconnects when it is lost.

The requests of one turn of the event loop are sent in one write, behind one TIME. A caller gets a future and
may abandon it at any time without effect on the connection or on other callers.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Self

from redis.exceptions import ReadOnlyError

from gateway.breaker import Breaker, State
from gateway.cache.redis.connect import first_attempt
from gateway.cache.redis.connection import RedisConnection, pack
from gateway.cache.redis.errors import NAMED_REASONS, FailureKind, RedisFailed, described, failure_kind
from gateway.cache.redis.lookup_pause import RETURN_SECONDS, LookupPause
from gateway.cache.redis.requests import TIMER_SECONDS, Deadlines, Replies, Request, SendBatch, micros
from gateway.tasks import Tasks

Open = Callable[[], Awaitable[RedisConnection]]
"""Returns a connection that has answered already. May raise anything."""

STALL_SECONDS = 1.0
"""A reply this late is given up, and the connection with it."""
BACKOFF_SECONDS = (0.0, 0.05, 0.1, 0.2, 0.4)
"""Waits between attempts to connect; the last repeats. With a connect timeout of 1 s: back within 1.5 s."""
BREAKER_OPEN_SECONDS = 1.0
"""Time from when the breaker opens until it lets a lookup through as a probe."""
MAX_PENDING_BYTES = 32 * 1024 * 1024
"""Most bytes of requests without a reply; beyond it, requests fail at once."""

_TIME = pack("TIME")


class Dispatcher:
    """Sends requests to one node. Without a connection, or with the breaker open, requests fail at once.

    `on_change` is called when `state` or `reason` may have changed, `on_failure` with the error of each
    attempt to connect that failed.
    """

    def __init__(
        self,
        name: str,
        open_connection: Open,
        tasks: Tasks,
        *,
        on_change: Callable[[], None],
        on_failure: Callable[[Exception], object],
        reopen_on_readonly: bool = False,
    ) -> None:
        self.name = name
        self._open = open_connection
        self._tasks = tasks
        self._on_change = on_change
        self._on_failure = on_failure
        self._reopen_on_readonly = reopen_on_readonly
        self._breaker = Breaker(
            error_rate=0.5,
            window_seconds=2.0,
            min_calls=10,
            open_seconds=BREAKER_OPEN_SECONDS,
            on_change=lambda _state: on_change(),
        )
        self._waiting: list[Request] = []
        self._sent: deque[SendBatch] = deque()
        self._deadlines = Deadlines(self._sent, self._time_out)
        self._reading: SendBatch | None = None
        self._micros = 0
        self._pending_bytes = 0
        self._flush_due = False
        self._tried = asyncio.Event()
        self._connection: RedisConnection | None = None
        self._served = False
        self._away = FailureKind.UNAVAILABLE
        self._failure: str | None = None
        """Why there is no connection; None until the first attempt has ended."""
        self.pause = LookupPause()
        self._loop = asyncio.get_running_loop()

    @property
    def up(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    @property
    def takes_writes(self) -> bool:
        """Whether there is a connection, and the node missed no write lately."""
        return self.up and self.pause.kind is None

    @property
    def state(self) -> State:
        """Open (lookups fail at once) without a connection or if writes were missed, else the breaker's."""
        return self._breaker.state if self.takes_writes else State.OPEN

    @property
    def reason(self) -> str | None:
        """Why `state` is open, for the log; None if it is not, or the first attempt to connect lasts."""
        if not self.up:
            return self._failure
        return self.pause.reason or ("too many lookups fail" if self.state is State.OPEN else None)

    async def __aenter__(self) -> Self:
        """Start. Returns when the first attempt to connect has ended, after FIRST_ATTEMPT_SECONDS at most."""
        self._task = self._tasks.spawn(f"redis {self.name}", self._run())
        await first_attempt(self._tried)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    def send(self, packed: bytes, count: int, *, timeout: float, guarded: bool) -> asyncio.Future[Replies]:
        """Send `count` packed commands together; `timeout` (seconds) counts from when they are sent.

        Guarded requests are lookups: refused while the breaker is open or missed writes are replayed, and
        their outcome counts for the breaker. Raises RedisFailed if nothing is sent; the future fails with it.
        A request that timed out may still be carried out.
        """
        if self._connection is None:
            raise RedisFailed(self._away)
        if self._pending_bytes > MAX_PENDING_BYTES:
            raise RedisFailed(FailureKind.OVERFLOW)
        if guarded and self.pause.kind is not None:
            raise RedisFailed(self.pause.kind)
        admission = None
        if guarded and (admission := self._breaker.admit(self._loop.time())) is None:
            raise RedisFailed(FailureKind.UNAVAILABLE)
        request = Request(packed, count, timeout, admission, self._loop.create_future())
        self._pending_bytes += request.cost
        self._waiting.append(request)
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)
        return request.future

    def note_refusal(self, kind: FailureKind | None) -> bool:
        """Note why the node refuses writes; None: it accepts them. Returns whether lookups changed."""
        now = self._loop.time()
        if kind is not None and self.pause.is_due_to_reopen(now):
            self.reset(kind)
        changed = self.pause.note(kind, now)
        if changed:
            self._on_change()
        return changed

    def reset(self, kind: FailureKind) -> None:
        """Close the connection and open another: its replies are not trusted any more."""
        if self._connection is not None:
            self._connection.close(RedisFailed(kind))

    async def drained(self, seconds: float) -> None:
        """Wait until no request is under way, for `seconds` at most."""
        pending = [request.future for batch in self._sent for request in batch.requests]
        pending += [request.future for request in self._waiting]
        if pending:
            await asyncio.wait(pending, timeout=seconds)

    async def _run(self) -> None:
        failures = 0
        try:
            while True:
                kind = await self._connect_and_serve(at_once=failures == 0)
                self._away = kind if kind in NAMED_REASONS else FailureKind.UNAVAILABLE
                failures = 0 if self._served else min(failures + 1, len(BACKOFF_SECONDS) - 1)
                await asyncio.sleep(BACKOFF_SECONDS[failures])
        finally:
            self._drop_all(FailureKind.UNAVAILABLE)

    async def _connect_and_serve(self, *, at_once: bool) -> FailureKind:
        """Connect and serve until the connection is lost; why it was, or could not be made."""
        self._served = False
        try:
            connection = await self._open()
        except Exception as error:  # noqa: BLE001 - after any failure the next attempt may succeed
            self._failure = described(error)
            self._on_failure(error)
            self._on_change()
            return failure_kind(error)
        finally:
            self._tried.set()
        connection.attach(self._receive, self._flush)
        self._connection = connection
        if self.pause.opened(self._loop.time(), at_once=at_once):
            self._loop.call_later(RETURN_SECONDS + TIMER_SECONDS, self.note_refusal, None)
        self._on_change()
        try:
            lost = await connection.wait_lost()
        finally:
            self._connection = None
            connection.close(ConnectionError("the gateway is closing"))
        kind, self._failure = failure_kind(lost), described(lost)
        self._drop_all(kind)
        self._on_change()
        return kind

    def _flush(self) -> None:
        """Send what waits in one write; on a congested connection, once it is writable again."""
        self._flush_due = False
        connection = self._connection
        if connection is None or not connection.writable or not self._waiting:
            return
        batch, self._waiting = SendBatch(self._waiting, self._loop.time()), []
        self._sent.append(batch)
        connection.write(b"".join([_TIME, *[request.packed for request in batch.requests]]))
        self._deadlines.watch(batch)

    def _receive(self, reply: Any) -> None:
        batch = self._reading
        if batch is None:
            if not self._sent:
                raise RedisFailed(FailureKind.PROTOCOL)
            self._micros = micros(reply)
            self._reading = self._sent[0]
            self._served = True
            return
        request = batch.requests[batch.answered]
        request.replies.append(reply)
        if len(request.replies) < request.count:
            return
        batch.answered += 1
        if batch.answered == len(batch.requests):
            batch.unread = False
            self.pause.alive_at = batch.sent_at
            self._reading = None
            self._sent.popleft()
        self._complete(request)

    def _complete(self, request: Request) -> None:
        self._pending_bytes -= request.cost
        self._record(request, ok=True)
        if not request.future.done():
            request.future.set_result(Replies(self._micros, request.replies))
        if self._reopen_on_readonly and any(isinstance(reply, ReadOnlyError) for reply in request.replies):
            raise RedisFailed(FailureKind.READONLY)

    def _time_out(self, batch: SendBatch, timeout: float) -> None:
        """Fail the requests whose time is up. Their replies are still read when they come, and dropped.

        Requests that wait behind a congested write fail with those that were sent.
        """
        if not batch.unread:
            return
        for request in [*batch.requests, *self._waiting]:
            if request.timeout <= timeout and not request.future.done():
                request.fail(FailureKind.TIMEOUT)
                self._record(request, ok=False)
        self._loop.call_later(max(0.0, STALL_SECONDS - timeout), self._reset_if_stalled, batch)

    def _reset_if_stalled(self, batch: SendBatch) -> None:
        if batch.unread:
            self.reset(FailureKind.TIMEOUT)

    def _record(self, request: Request, *, ok: bool) -> None:
        if request.admission is not None:
            self._breaker.record(request.admission, ok=ok, now=self._loop.time())
            request.admission = None

    def _drop_all(self, kind: FailureKind) -> None:
        """Fail everything that was sent or waits."""
        requests = [request for batch in self._sent for request in batch.requests[batch.answered :]]
        requests += self._waiting
        for batch in self._sent:
            batch.unread = False
        self._sent.clear()
        self._reading = None
        self._waiting = []
        self._pending_bytes = 0
        self._deadlines.cancel()
        for request in requests:
            if request.admission is not None:
                self._breaker.release(request.admission)
            request.fail(kind)
