"""Journal of calls: ids and times of each, and which ids were in flight twice.

Bounded: the oldest calls are dropped first. Times are the clock's monotonic seconds.
"""

import asyncio
from collections import deque
from collections.abc import Iterator

import msgspec

from gateway.clock import Clock
from gateway.model import Kind

_MAX_CALLS = 10_000
_MAX_IDS = 1_000_000
_MAX_DOUBLES = 1_000


class RecordedCall(msgspec.Struct, gc=False):
    """One call to the ratings API, or to `/v1/test`. It is filled in while the call runs."""

    number: int
    """Counts from 1 since the start or the last `clear`."""
    method: str
    path: str
    kind: Kind | None = msgspec.field(name="type")
    """None if the path names no type of ratings."""
    user: str
    """The user's label; `unknown-…` for an unknown token, empty without one."""
    ids: tuple[str, ...]
    many: bool
    """Whether the ids were in `ids=`, not in the path."""
    query: str
    """Every other parameter, sorted, as `name=value&…`."""
    started: float
    ended: float | None = None
    status: int | None = None
    """None while the call runs, and if no answer was sent (reset, caller disconnected)."""
    faults: tuple[str, ...] = ()
    """Ids of the faults that struck it."""
    kept: bool = False
    """Whether its connection had carried a call before."""
    objection: str | None = None
    """Why the developer token was refused, if it was: Apple's 401 does not say."""


class Double(msgspec.Struct, frozen=True):
    """An id that two calls read at once, for one user and with the same parameters."""

    user: str
    kind: Kind | None = msgspec.field(name="type")
    id: str
    query: str
    calls: tuple[int, int]


class Journal:
    """The calls, oldest first, as an iterable. `total` also counts dropped ones."""

    def __init__(self, clock: Clock, *, max_calls: int = _MAX_CALLS, max_ids: int = _MAX_IDS) -> None:
        self._clock = clock
        self._max_calls = max_calls
        self._max_ids = max_ids
        self._calls: deque[RecordedCall] = deque()
        self._ids_kept = 0
        self._reading: dict[tuple[str, Kind | None, str], dict[int, frozenset[str]]] = {}
        self._running: dict[int, RecordedCall] = {}
        self._end = asyncio.Event()
        self._next = 1
        self._first = 1
        self.ended = 0
        self.max_in_flight = 0
        self.doubles: deque[Double] = deque(maxlen=_MAX_DOUBLES)

    def __iter__(self) -> Iterator[RecordedCall]:
        return iter(tuple(self._calls))

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def total(self) -> int:
        """Calls received since the start or the last `clear`."""
        return self._next - self._first

    @property
    def in_flight(self) -> int:
        return len(self._running)

    @property
    def last(self) -> RecordedCall:
        """The latest call. Raises IndexError if there was none."""
        return self._calls[-1]

    async def until_ended(self, calls: int) -> None:
        """Wait until `calls` calls have ended since the start or the last `clear`."""
        while self.ended < calls:
            self._end.clear()
            await self._end.wait()

    def clear(self) -> None:
        """Drop ended calls; running ones stay in flight and are no longer counted."""
        self._calls.clear()
        self.doubles.clear()
        self._ids_kept = 0
        self._first = self._next
        self.ended = 0
        self.max_in_flight = self.in_flight

    def begin(
        self,
        *,
        method: str,
        path: str,
        kind: Kind | None,
        user: str,
        ids: tuple[str, ...],
        many: bool,
        query: str,
        kept: bool = False,
    ) -> RecordedCall:
        started = self._clock.monotonic()
        call = RecordedCall(self._next, method, path, kind, user, ids, many, query, started, kept=kept)
        self._next += 1
        self._running[call.number] = call
        self.max_in_flight = max(self.max_in_flight, len(self._running))
        self._keep(call)
        if method == "GET" and ids:
            self._begin_reading(call)
        return call

    def end(self, call: RecordedCall, status: int | None) -> None:
        call.status = status
        call.ended = self._clock.monotonic()
        del self._running[call.number]
        shelf = (call.user, call.kind, call.query)
        readers = self._reading.get(shelf)
        if readers is not None and readers.pop(call.number, None) is not None and not readers:
            del self._reading[shelf]
        if call.number >= self._first:
            self.ended += 1
            self._end.set()

    def _keep(self, call: RecordedCall) -> None:
        self._calls.append(call)
        self._ids_kept += len(call.ids)
        while len(self._calls) > self._max_calls or (self._ids_kept > self._max_ids and len(self._calls) > 1):
            self._ids_kept -= len(self._calls.popleft().ids)

    def _begin_reading(self, call: RecordedCall) -> None:
        ids = frozenset(call.ids)
        readers = self._reading.setdefault((call.user, call.kind, call.query), {})
        for number, others in readers.items():
            for id_ in ids & others:
                self.doubles.append(Double(call.user, call.kind, id_, call.query, (number, call.number)))
        readers[call.number] = ids
