"""User tokens that Apple has just refused: asking again at once would only burn the budget that all share."""

from collections import OrderedDict
from typing import Final

from gateway.errors import Quarantined, Relayed
from gateway.telemetry.metrics import Metrics

INVALID_AUTHENTICATION: Final = "40300"

MOST_USERS: Final = 10_000
"""Users remembered at most; beyond them the longest known goes first."""
LONGEST_BODY: Final = 4096
"""Bytes of a refusal that are kept, ten times what Apple sends; our own stands in for a longer one."""


class Quarantine:
    """Keeps a user's requests from Apple for `seconds` after a 403 `40300`; time is an argument."""

    def __init__(self, *, seconds: float, metrics: Metrics) -> None:
        self._seconds = seconds
        self._refused = metrics.quarantined_requests
        self._users: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()

    def active(self, user_key: bytes, now: float) -> bool:
        """Whether this user's requests are refused at `now` (monotonic seconds)."""
        held = self._users.get(user_key)
        return held is not None and now < held[0]

    def hear(self, user_key: bytes, failure: Relayed, now: float) -> None:
        """Apple has answered this user an error; only a refusal of the user token means anything here."""
        if failure.status != 403 or failure.apples_code != INVALID_AUTHENTICATION or self._seconds <= 0:
            return
        body = failure.body if len(failure.body) <= LONGEST_BODY else b""
        self._users[user_key] = (now + self._seconds, body)
        self._users.move_to_end(user_key)
        if len(self._users) > MOST_USERS:
            self._users.popitem(last=False)

    def check(self, user_key: bytes, now: float) -> None:
        """Raise `Quarantined`, and count it, while this user's requests are refused."""
        if not self.active(user_key, now):
            self._users.pop(user_key, None)
            return
        until, body = self._users[user_key]
        self._refused.inc()
        raise Quarantined(403, body, code=INVALID_AUTHENTICATION, retry_after=until - now)
