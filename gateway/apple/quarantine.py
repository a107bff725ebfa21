"""Users for whom Apple is not called for a while, because each call would fail and burn the shared budget.

A *refused* user is one whose token Apple refuses: 403 `40300`, or 401 though the developer token is good.
Their fresh ratings are served, stale ones never. An *isolated* user is one for whom Apple fails while it
answers others: stale ratings, or Apple's last error, answer for them. If only their writes fail, only writes
are stopped.
"""

from collections import OrderedDict
from typing import Final

import msgspec

from gateway.bounded import keep_latest
from gateway.errors import AppleError, Quarantined, UpstreamError
from gateway.telemetry.metrics import Metrics

MOST_USERS: Final = 10_000
"""Most users that are remembered; the oldest is dropped first."""
LONGEST_BODY: Final = 4096
"""Bytes of a refusal that are kept, ten times what Apple sends; our own stands in for a longer one."""


class _Stopped(msgspec.Struct, frozen=True):
    until: float
    failure: UpstreamError
    refused: bool
    writes_only: bool = False


class Quarantine:
    """Keeps users' calls from Apple for `seconds`, by user key; time is an argument (monotonic seconds)."""

    def __init__(self, *, seconds: float, metrics: Metrics) -> None:
        self._seconds = seconds
        self._counted = metrics.quarantined_requests
        self._users: OrderedDict[bytes, _Stopped] = OrderedDict()

    def is_refused(self, user_key: bytes, now: float) -> bool:
        """Whether Apple refuses this user, so that nothing stale may be served."""
        stopped = self._users.get(user_key)
        return stopped is not None and stopped.refused and now < stopped.until

    def refuse(self, user_key: bytes, failure: AppleError, now: float) -> None:
        """Apple refused this user's token."""
        body = failure.body if len(failure.body) <= LONGEST_BODY else b""
        self._keep(user_key, Quarantined(failure.status, body, code=failure.code), now, refused=True)

    def isolate(
        self, user_key: bytes, failure: UpstreamError, now: float, *, writes_only: bool = False
    ) -> None:
        """Apple fails for this user alone; a refusal counts for more, and so do failing reads."""
        stopped = self.answer(user_key, now) is not None
        if not (self.is_refused(user_key, now) or (writes_only and stopped)):
            self._keep(user_key, failure, now, refused=False, writes_only=writes_only)

    def answer(self, user_key: bytes, now: float, *, write: bool = False) -> UpstreamError | None:
        """Return what Apple answered last, if this user is refused or isolated, else None. Counts nothing."""
        stopped = self._users.get(user_key)
        if stopped is None or stopped.until <= now or (stopped.writes_only and not write):
            return None
        failure = stopped.failure.as_remembered()
        failure.retry_after = stopped.until - now
        return failure

    def check(self, user_key: bytes, now: float, *, write: bool = False) -> None:
        """Raise what Apple answered last, and count it, if this user is refused or isolated."""
        failure = self.answer(user_key, now, write=write)
        if failure is not None:
            self._counted.inc()
            raise failure
        if user_key in self._users and self._users[user_key].until <= now:
            del self._users[user_key]

    def lift_isolation(self, user_key: bytes, *, write: bool = False) -> None:
        """Apple answered a call of this user."""
        stopped = self._users.get(user_key)
        if stopped is not None and not stopped.refused and stopped.writes_only == write:
            del self._users[user_key]

    def lift_unauthorized(self) -> None:
        """The developer token proved refused: a 401 says nothing about its user."""
        for user_key, stopped in tuple(self._users.items()):
            if stopped.failure.status == 401:
                del self._users[user_key]

    def _keep(
        self,
        user_key: bytes,
        failure: UpstreamError,
        now: float,
        *,
        refused: bool,
        writes_only: bool = False,
    ) -> None:
        if self._seconds > 0:
            stopped = _Stopped(now + self._seconds, failure, refused, writes_only)
            keep_latest(self._users, user_key, stopped, MOST_USERS)
