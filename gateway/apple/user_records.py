"""Recent outcomes of users' calls: the memory behind `attribution.Evidence`. Time is an argument."""

from collections import OrderedDict, deque
from math import inf
from typing import Final, TypeAlias

from gateway.bounded import keep_latest

MOST_USERS: Final = 10_000
"""Most users that are remembered; the least recently active is dropped first."""

MOST_WRITES: Final = 10_000
"""Most failed writes that are remembered; the one that failed longest ago is dropped first."""

FAILS_AGAIN: Final = 60.0
"""Seconds for which a failed write, and a user's failures in a row, are remembered."""

MOST_BEGINNINGS: Final = 16
"""Answered calls of a user whose beginnings are remembered: the latest ones."""

MOST_SLICES: Final = 6000
"""Slices that are remembered: of ten topics for a minute."""

SLICE: Final = 0.1
"""Seconds; for each slice of time, the beginnings of answered calls of two users are remembered."""


class _UserRecord:
    """One user's calls."""

    __slots__ = (
        "answered_began",
        "beginnings",
        "counted_at",
        "counted_subject",
        "failed",
        "failed_at",
        "isolated",
    )

    def __init__(self) -> None:
        self.answered_began = -inf
        self.beginnings: deque[float] = deque(maxlen=MOST_BEGINNINGS)
        """When the calls began that were answered last."""
        self.failed = 0
        """Calls that failed in a row and count: with answers to others between each two of them."""
        self.failed_at = -inf
        """When the latest call failed, whether or not it counts."""
        self.counted_at = 0.0
        """When the first try failed of the latest call that counts."""
        self.counted_subject: str | None = None
        """The one id that this call was for."""
        self.isolated = False


WriteKey: TypeAlias = tuple[bytes, str]
"""Names a user's writes of one id: the user key and the path."""


class FailedWrites:
    """Writes that failed: if one of them fails again while other calls are answered, its id is at fault."""

    def __init__(self) -> None:
        self._writes: OrderedDict[WriteKey, tuple[float, float]] = OrderedDict()
        """When it failed first, and until when that is remembered."""

    def since(self, write: WriteKey, now: float) -> float:
        """When the write failed first; `inf` if it did not fail lately."""
        first, until = self._writes.get(write, (inf, now))
        return first if now < until else inf

    def failed(self, write: WriteKey, first: float, now: float) -> None:
        """A write failed for good, with its first try at `first`."""
        since = min(first, self.since(write, now))
        keep_latest(self._writes, write, (since, now + FAILS_AGAIN), MOST_WRITES)

    def answered(self, write: WriteKey) -> None:
        """It was carried out."""
        self._writes.pop(write, None)

    def forget_failures(self) -> None:
        """Nothing that failed until now says anything about its id."""
        self._writes.clear()


class _Answers:
    """When calls began that were answered, for as long as failures in a row are remembered."""

    def __init__(self) -> None:
        self.latest = -inf
        self._slices: OrderedDict[tuple[str, int], dict[bytes, tuple[float, float]]] = OrderedDict()
        """Per topic and slice, start times of the first and the latest answered call of up to two users: with
        two, one of them is always another user."""

    def add(self, user: bytes, topic: str, began: float) -> None:
        self.latest = max(self.latest, began)
        key = (topic, int(began / SLICE))
        users = self._slices.get(key)
        if users is None:
            users = {}
            keep_latest(self._slices, key, users, MOST_SLICES)
        if user in users or len(users) < 2:
            users[user] = (users.get(user, (began, began))[0], began)

    def of_others(self, user: bytes, topic: str, first: float, last: float) -> bool:
        """Whether one of another user began after `first`, and at `last` at the latest."""
        if first >= min(last, self.latest):
            return False
        earliest = max(first, last - FAILS_AGAIN)
        return any(
            first < began <= last
            for number in range(int(earliest / SLICE), int(last / SLICE) + 1)
            for other, beginnings in self._slices.get((topic, number), {}).items()
            if other != user
            for began in beginnings
        )


class UserRecords:
    """Which users' calls were answered and which failed; a call counts once, with its tries and fragments."""

    def __init__(self) -> None:
        self._users: OrderedDict[bytes, _UserRecord] = OrderedDict()
        self._answers = _Answers()

    def answered(self, user: bytes, topic: str, began: float) -> None:
        """A call of `user` that began at `began` was answered; `topic` is its path without an id."""
        record = self._of(user)
        record.answered_began = max(record.answered_began, began)
        record.beginnings.append(began)
        record.failed = 0
        record.isolated = False
        self._answers.add(user, topic, began)

    def failed(
        self, user: bytes, topic: str, tries: tuple[float, float], now: float, subject: str | None = None
    ) -> None:
        """A call of `user` failed for good.

        `tries`: when its first try failed, and when its last one began. It counts if another user's call of
        the topic was answered that began between the failure that counted before it and its own. One that
        began before these may be from before an outage, and one that began later from after it. `subject` is
        the one id that it was for: failures in a row for the same id count once, because they may be due to
        the id.
        """
        record, (first, last) = self._of(user), tries
        if not self.failed_calls(user, now):
            record.failed = 0
        elif subject is not None and subject == record.counted_subject:
            return
        record.failed_at = now
        if record.failed and not self._answers.of_others(user, topic, record.counted_at, last):
            return
        record.failed += 1
        record.counted_at = first
        record.counted_subject = subject

    def forget_failures(self) -> None:
        """Nothing that failed until now says anything about its user."""
        for record in self._users.values():
            record.failed = 0
            record.isolated = False

    def failed_calls(self, user: bytes, now: float) -> int:
        """Calls of `user` that failed in a row and count, each within a minute of the one before."""
        record = self._users.get(user)
        return 0 if record is None or now >= record.failed_at + FAILS_AGAIN else record.failed

    def isolate(self, user: bytes) -> None:
        """The user is isolated, until a call is answered."""
        self._of(user).isolated = True

    def is_isolated(self, user: bytes) -> bool:
        record = self._users.get(user)
        return record is not None and record.isolated

    def own_answered(self, user: bytes, since: float) -> bool:
        """Whether a call of `user` was answered that began after `since`."""
        record = self._users.get(user)
        return record is not None and record.answered_began > since

    def own_answered_between(self, user: bytes, first: float, last: float) -> bool:
        """Whether a call of `user` was answered that began after `first`, and at `last` at the latest."""
        record = self._users.get(user)
        return record is not None and any(first < began <= last for began in record.beginnings)

    def any_answered(self, since: float) -> bool:
        """Whether a call of any user was answered that began after `since`."""
        return self._answers.latest > since

    def any_answered_from(self, moment: float) -> bool:
        """Whether a call of any user was answered that began at `moment` or later."""
        return self._answers.latest >= moment

    def others_answered(self, user: bytes, topic: str, first: float, last: float) -> bool:
        """Whether another user's call of the topic was answered that began after `first`, until `last`."""
        return self._answers.of_others(user, topic, first, last)

    def _of(self, user: bytes) -> _UserRecord:
        record = self._users.get(user) or _UserRecord()
        keep_latest(self._users, user, record, MOST_USERS)
        return record
