"""A circuit breaker on the error rate of a sliding window; a pure state machine, time is an argument.

    closed ──(rate of errors reached)──▶ open ──(open_seconds)──▶ half-open ──(probe succeeds)──▶ closed
                                          ▲                            │
                                          └───────(probe fails)────────┘

If calls name their users, failing users must reach the rate too, so that one account whose every call fails
opens nothing; and a probe that fails makes only its user wait, until a probe of a second user has failed as
well, so that such an account keeps nothing open. It is used for both Apple and Redis.
"""

from collections import Counter, deque
from collections.abc import Callable
from enum import IntEnum
from typing import Final, NamedTuple, NewType

Admission = NewType("Admission", int)
"""What `admit` returns: the period in which a call began. Always true."""


class State(IntEnum):
    """The values of `gateway_breaker_state`."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2

    @property
    def label(self) -> str:
        """The state in log lines and on pages: `closed`, `half-open` or `open`."""
        return self.name.lower().replace("_", "-")


MOMENTS: Final = 50
"""Parts of the window by which calls are counted: one by one, a busy second would be ten thousand entries."""


class _Tally:
    """Calls and errors, in all and by user."""

    __slots__ = ("by_user", "calls", "causes", "errors")

    def __init__(self) -> None:
        self.calls = self.errors = 0
        self.by_user: dict[bytes, tuple[int, int]] = {}
        """Calls and errors of each user."""
        self.causes: Counter[str] = Counter()

    def add(self, calls: int, errors: int, user: bytes | None, cause: str | None) -> None:
        """Add calls and errors; negative numbers subtract."""
        self.calls += calls
        self.errors += errors
        if cause is not None:
            self.causes[cause] += errors
        if user is not None:
            before = self.by_user.get(user, (0, 0))
            now = (before[0] + calls, before[1] + errors)
            if now[0] > 0:
                self.by_user[user] = now
            else:
                self.by_user.pop(user, None)

    def subtract(self, other: "_Tally") -> None:
        self.calls -= other.calls
        self.errors -= other.errors
        self.causes -= other.causes
        for user, (calls, errors) in other.by_user.items():
            of_user = self.by_user[user]
            if of_user[0] > calls:
                self.by_user[user] = (of_user[0] - calls, of_user[1] - errors)
            else:
                del self.by_user[user]


class _Moment(_Tally):
    """Calls that ended between `began` and `until`."""

    __slots__ = ("began", "until")

    def __init__(self, began: float, until: float) -> None:
        super().__init__()
        self.began = began
        self.until = until


class Charge(NamedTuple):
    """A failure that was counted, and is retracted if it turns out not to be the other side's."""

    period: Admission
    moment: _Moment
    user: bytes | None
    cause: str | None


class Breaker:
    """Opens when `min_calls` or more calls ended within `window_seconds` and `error_rate` of them failed.

    If calls name their users, `error_rate` of the users who asked must fail too, and more than one unless
    only one asked. A user fails if the user's calls fail at that rate. After a user's failed probe, the next
    probe may come from another user at once; if it fails too, all wait.

    `admit` is asked before a call; every admission must be given back by exactly one `record` or `release`.
    `on_change` is called after every change of state.
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
        self._window_tally = _Tally()
        self._opened_at = 0.0
        self._probing = False
        self._failed_prober: bytes | None = None
        """The user whose probe failed last, while a second user's probe is admitted at once."""
        # Each stay in a state is a period of its own, and a call that began in one says nothing in another:
        # else a call admitted while closed that ends while half-open would be taken for the probe.
        self._period = Admission(1)
        self.state = State.CLOSED
        self.since = 0.0
        """Since when it has been closed, or not (monotonic seconds; 0 at the start): probes do not count."""
        self._opened_by: Counter[str] = Counter()

    @property
    def causes(self) -> Counter[str]:
        """How often each failure came: those that opened it, or those of the window while it is closed."""
        return self._window_tally.causes if self.state is State.CLOSED else self._opened_by

    def refuses(self, now: float, user: bytes | None = None) -> bool:
        """Whether `admit` would refuse a call of `user` now; changes nothing."""
        if self.state is State.CLOSED:
            return False
        second = self._failed_prober is not None and user not in (None, self._failed_prober)
        return self._probing or (not second and now < self._opened_at + self._open_seconds)

    def admit(self, now: float, user: bytes | None = None) -> Admission | None:
        """Admit a call, or return None. In the half-open state exactly one is admitted: the probe."""
        if self.refuses(now, user):
            return None
        if self.state is State.OPEN:
            self._enter(State.HALF_OPEN, now)
        self._probing = self.state is State.HALF_OPEN
        return self._period

    def is_probe(self, admission: Admission) -> bool:
        """Whether `admission` is that of the probe, which has not ended."""
        return self.state is State.HALF_OPEN and admission == self._period

    def retry_after(self, now: float) -> float:
        """Seconds until a probe of any user may go out; at least 0."""
        return max(0.0, self._opened_at + self._open_seconds - now)

    def record(
        self,
        admission: Admission,
        *,
        ok: bool,
        now: float,
        user: bytes | None = None,
        cause: str | None = None,
    ) -> Charge | None:
        """Record the end of a call that `admit` admitted; it counts only in the period in which it began.

        `user` asked, and `cause` says in a word why it failed. Returns what `retract` takes back, for a
        failure that was counted.
        """
        if admission != self._period:
            return None
        if self.state is State.HALF_OPEN:
            self._end_probe(ok=ok, now=now, user=user, cause=cause)
            return None
        self._drop_passed(now)
        if not self._ended or now >= self._ended[-1].until:
            self._ended.append(_Moment(now, now + self._window / MOMENTS))
        moment = self._ended[-1]
        for tally in (moment, self._window_tally):
            tally.add(1, not ok, user, cause)
        # An answer opens nothing: the rate also rises when answers from before an outage leave the window.
        if not ok and self._fails():
            self._opened_by = self._window_tally.causes.copy()
            self._enter(State.OPEN, now)
            return None
        return None if ok else Charge(self._period, moment, user, cause)

    def retract(self, charge: Charge) -> None:
        """Uncount a failure that turned out not to be the other side's."""
        if charge.period == self._period and charge.moment in self._ended:
            for tally in (charge.moment, self._window_tally):
                tally.add(-1, -1, charge.user, charge.cause)

    def others_failing(self, user: bytes, now: float) -> bool:
        """Whether of the other users who asked within the window, `error_rate` or more fail."""
        self._drop_passed(now)
        users = self._window_tally.by_user
        calls, errors = users.get(user, (0, 0))
        asked = len(users) - bool(calls)
        failing = self._failing(users) - bool(calls and errors >= self._error_rate * calls)
        return asked > 0 and failing >= self._error_rate * asked

    def release(self, admission: Admission) -> None:
        """End an admitted call without evidence about the other side (cancelled, or answered 429)."""
        if admission == self._period:
            self._probing = False

    def _end_probe(self, *, ok: bool, now: float, user: bytes | None, cause: str | None) -> None:
        if cause is not None:
            self._opened_by[cause] += not ok
        first = self._failed_prober in (None, user)
        self._failed_prober = user if first and not ok else None
        self._enter(State.CLOSED if ok else State.OPEN, now)

    def _fails(self) -> bool:
        tally = self._window_tally
        if tally.calls < self._min_calls or tally.errors < self._error_rate * tally.calls:
            return False
        asked = len(tally.by_user)
        if asked <= 1:
            return True
        failing = self._failing(tally.by_user)
        return failing > 1 and failing >= self._error_rate * asked

    def _failing(self, users: dict[bytes, tuple[int, int]]) -> int:
        return sum(errors >= self._error_rate * calls for calls, errors in users.values())

    def _drop_passed(self, now: float) -> None:
        while self._ended and self._ended[0].began <= now - self._window:
            passed = self._ended.popleft()
            self._window_tally.subtract(passed)

    def _enter(self, state: State, now: float) -> None:
        if State.CLOSED in (self.state, state):
            self.since = now
        self.state = state
        self._period = Admission(self._period + 1)
        self._probing = False
        self._ended.clear()
        self._window_tally = _Tally()
        if state is State.OPEN:
            self._opened_at = now
        if self._on_change is not None:
            self._on_change(state)
