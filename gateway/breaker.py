"""A circuit breaker on the error rate of a sliding window; a pure state machine, time is an argument.

    closed ──(rate of errors reached)──▶ open ──(open_seconds)──▶ half-open ──(probe succeeds)──▶ closed
                                          ▲                            │
                                          └───────(probe fails)────────┘

It lives beside the vocabulary because both Apple and Redis stand behind one.
"""

from collections import deque
from enum import IntEnum


class State(IntEnum):
    """The values of `gateway_breaker_state`."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Breaker:
    """Opens when at least `min_calls` calls ended in the last `window_seconds` and `error_rate` of them failed.

    `admit` is asked before a call; every admitted call must be followed by exactly one `record` or `forget`.
    """

    def __init__(
        self, *, error_rate: float, window_seconds: float, min_calls: int, open_seconds: float
    ) -> None:
        self._error_rate = error_rate
        self._window = window_seconds
        self._min_calls = min_calls
        self._open_seconds = open_seconds
        self._ended: deque[tuple[float, bool]] = deque()
        self._errors = 0
        self._opened_at = 0.0
        self._probing = False
        self.state = State.CLOSED
        self.since = 0.0
        """When the breaker came into its present state (monotonic seconds; 0 at the start)."""

    def admit(self, now: float) -> bool:
        """Whether a call may go out now. In the half-open state exactly one may: the probe."""
        if self.state is State.CLOSED:
            return True
        if self.state is State.OPEN and now >= self._opened_at + self._open_seconds:
            self._enter(State.HALF_OPEN, now)
        if self.state is State.HALF_OPEN and not self._probing:
            self._probing = True
            return True
        return False

    def retry_after(self, now: float) -> float:
        """Seconds until a probe may go out; at least 0."""
        return max(0.0, self._opened_at + self._open_seconds - now)

    def record(self, *, ok: bool, now: float) -> None:
        """A call that `admit` let through has ended."""
        if self.state is State.HALF_OPEN and self._probing:
            self._probing = False
            if ok:
                self._ended.clear()
                self._errors = 0
                self._enter(State.CLOSED, now)
            else:
                self._open(now)
            return
        if self.state is not State.CLOSED:
            return
        self._ended.append((now, ok))
        self._errors += not ok
        while self._ended and self._ended[0][0] <= now - self._window:
            self._errors -= not self._ended.popleft()[1]
        if len(self._ended) >= self._min_calls and self._errors >= self._error_rate * len(self._ended):
            self._open(now)

    def forget(self) -> None:
        """An admitted call ended without saying anything about the other side (cancelled, or answered 429)."""
        self._probing = False

    def _open(self, now: float) -> None:
        self._opened_at = now
        self._enter(State.OPEN, now)

    def _enter(self, state: State, now: float) -> None:
        self.state = state
        self.since = now
