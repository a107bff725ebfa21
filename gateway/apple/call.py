"""A call to Apple and how it failed, as the caller and the batch splitter exchange them."""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import msgspec

from gateway.apple.attribution import Asked, Verdict
from gateway.apple.reactions import Trial
from gateway.errors import UpstreamError
from gateway.model import User
from gateway.waiters import Waiters

_NO_HEADERS: Final[Mapping[str, str]] = {}


class Outgrown(Exception):
    """A call was not made: while it waited for its turn, one like it was refused as too large."""


class Call(msgspec.Struct, frozen=True):
    """What is asked of Apple, for which user."""

    operation: str
    """`read`, `write`, `delete`, `favorites` or `bypass`: the label of the metrics."""
    method: str
    target: str
    """Path and query, as they go on the wire."""
    user: User
    waiters: Waiters
    trial: Trial
    body: bytes | None = None
    headers: Mapping[str, str] = _NO_HEADERS
    """Preconditions of a write."""
    ids: int = 0
    """Ids asked for, in Apple's form with many."""
    other_parameters: bool = False
    """It has parameters that may make Apple's answer something else than a list of ratings."""
    divisible: bool = False
    """A 504, or no answer in time, is returned at once and not counted: the caller can ask for fewer ids."""
    riders: bool = False
    """It carries cached ids that no request asked for, so a failure may be due to one of them."""
    single: bool = False
    """A part of a failed call, or an id that failed before: one try, besides 429s and lost connections."""
    whole: bool = False
    """The first try has the whole call timeout even past the deadline: its answer is kept."""

    fits: Callable[[], bool] = lambda: True
    """Checked before the first try: False if Apple has refused that many ids meanwhile."""

    @property
    def read(self) -> bool:
        return self.method == "GET"

    @property
    def idempotent(self) -> bool:
        """Whether sending it twice does what sending it once does, also with other writes between."""
        return self.method != "POST" and not self.headers

    def asked(self, *, reconnected: bool = False, repeated: bool = False, last: bool = False) -> Asked:
        """The facts that the attribution of a failure depends on."""
        return Asked(
            ids=self.ids,
            read=self.read,
            deletes=self.method == "DELETE",
            idempotent=self.idempotent,
            other_parameters=self.other_parameters,
            divisible=self.divisible,
            part=self.single,
            riders=self.riders,
            reconnected=reconnected,
            repeated=repeated,
            last=last,
        )


class Failed(NamedTuple):
    """How a call ended that has no result."""

    error: UpstreamError
    verdict: Verdict
    again: bool = False
    """Whether its next try is due, after any wait: without the riders that this one had."""
    abandoned: bool = False
    """Whether the gateway ended it, not Apple: its last try was not sent, or the deadline cut it short."""
