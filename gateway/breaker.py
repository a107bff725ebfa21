"""A circuit breaker on the error rate of a sliding window; a pure state machine, time is an argument.

    closed ──(rate of errors reached)──▶ open ──(open_seconds)──▶ half-open ──(probe succeeds)──▶ closed
                                          ▲                            │
                                          └───────(probe fails)────────┘

It lives beside the vocabulary because both Apple and Redis stand behind one.
"""

from collections import deque
from collections.abc import Callable
from enum import IntEnum
from typing import Final, NewType

Admission = NewType("Admission", int)
"""What `admit` hands out: the period in which a call began. Always true."""


class State(IntEnum):
    """The values of `gateway_breaker_state`."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


MOMENTS: Final = 50
"""Parts of the window that calls are counted by: one by one, a busy second would be ten thousand of them."""


class _Moment:
    """Calls that ended between `began` and `until`."""

    __slots__ = ("began", "calls", "errors", "until")

    def __init__(self, began: float, until: float) -> None:
        self.began = began
        self.until = until
        self.calls = self.errors = 0


class Breaker:
    """Opens when `min_calls` or more calls ended within `window_seconds` and `error_rate` of them failed.

    `admit` is asked before a call; every admission must be given back by exactly one `record` or `forget`.
    `on_change` hears of every change of state, after it happened.
    """

    def __init__(
        self,
        *,
        error_rate: float,
        window_seconds: float,
        min_calls: int,
        open_seconds: float,
        on_change: Callable[[State], None] | None = None,
    ) -> None:
        self._error_rate = error_rate
        self._window = window_seconds
        self._min_calls = min_calls
        self._open_seconds = open_seconds
        self._on_change = on_change
        self._ended: deque[_Moment] = deque()
        self._calls = self._errors = 0
        self._opened_at = 0.0
        self._probing = False
        # Each stay in a state is a period of its own, and a call that began in one says nothing in another:
        # else a call admitted while closed that ends while half-open would be taken for the probe.
        self._period = Admission(1)
        self.state = State.CLOSED
        self.since = 0.0
        """Since when it has been closed, or not (monotonic seconds; 0 at the start): probes do not count."""

    def refuses(self, now: float) -> bool:
        """Whether `admit` would refuse now; changes nothing."""
        if self.state is State.OPEN:
            return now < self._opened_at + self._open_seconds
        return self.state is State.HALF_OPEN and self._probing

    def admit(self, now: float) -> Admission | None:
        """Let a call out, or None. In the half-open state exactly one goes out: the probe."""
        if self.refuses(now):
            return None
        if self.state is State.OPEN:
            self._enter(State.HALF_OPEN, now)
        self._probing = self.state is State.HALF_OPEN
        return self._period

    def retry_after(self, now: float) -> float:
        """Seconds until a probe may go out; at least 0."""
        return max(0.0, self._opened_at + self._open_seconds - now)

    def record(self, admission: Admission, *, ok: bool, now: float) -> None:
        """A call that `admit` let out has ended; it counts only in the period in which it began."""
        if admission != self._period:
            return
        if self.state is State.HALF_OPEN:
            self._enter(State.CLOSED if ok else State.OPEN, now)
            return
        if not self._ended or now >= self._ended[-1].until:
            self._ended.append(_Moment(now, now + self._window / MOMENTS))
        self._ended[-1].calls += 1
        self._ended[-1].errors += not ok
        self._calls += 1
        self._errors += not ok
        while self._ended[0].began <= now - self._window:
            passed = self._ended.popleft()
            self._calls -= passed.calls
            self._errors -= passed.errors
        if self._calls >= self._min_calls and self._errors >= self._error_rate * self._calls:
            self._enter(State.OPEN, now)

    def forget(self, admission: Admission) -> None:
        """An admitted call ended and says nothing about the other side (cancelled, or answered 429)."""
        if admission == self._period:
            self._probing = False

    def _enter(self, state: State, now: float) -> None:
        if State.CLOSED in (self.state, state):
            self.since = now
        self.state = state
        self._period = Admission(self._period + 1)
        self._probing = False
        self._ended.clear()
        self._calls = self._errors = 0
        if state is State.OPEN:
            self._opened_at = now
        if self._on_change is not None:
            self._on_change(state)
