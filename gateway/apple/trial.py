"""A trial: a call to Apple with all its tries and fragments, whose failures are judged together."""

from math import inf
from typing import Final

import msgspec

from gateway.apple.attribution import Asked
from gateway.apple.breaker_account import BreakerAccount
from gateway.breaker import Admission


class PriorFailures(msgspec.Struct, frozen=True):
    """What earlier calls showed about the ids of a trial when it began."""

    first_failed: float = inf
    """The latest of the ids' first failures for this user; inf unless each has failed alone."""
    failed_elsewhere: float = inf
    """When the one id failed last for any user, if it is asked for by itself for that reason."""
    remembered: bool = False
    """Whether each id was found to be at fault for this user."""
    refused_alike: bool = False
    """Whether a call of this user, type and variant had every fragment refused alike."""
    variant_answered: bool = False
    """Whether a call of this user, type and variant was answered: refusals are the ids' fault."""


NO_FAILURES: Final = PriorFailures()


class Trial:
    """One call to Apple, with all the tries and fragments that it becomes."""

    __slots__ = (
        "account",
        "answered",
        "began",
        "divided",
        "divided_in_vain",
        "failed",
        "first_failed",
        "last_began",
        "maybe_done",
        "prior",
        "subject",
        "topic",
        "user_key",
        "write",
    )

    def __init__(
        self,
        user_key: bytes,
        began: float,
        *,
        topic: str = "",
        subject: str | None = None,
        write: bool = False,
        prior: PriorFailures = NO_FAILURES,
    ) -> None:
        self.user_key = user_key
        self.began = began
        """When it began."""
        self.topic = topic
        """The path without any id: Apple may fail for one type only."""
        self.subject = subject
        """The path of the one id that is read or written; None for several."""
        self.write = write
        """Whether it changes something: reads and writes are not judged by each other."""
        self.prior = prior

        self.first_failed = prior.first_failed
        """When a try failed first, or its ids before (`PriorFailures`)."""
        self.last_began = -inf
        """When the last try began that failed."""
        self.answered = False
        """Whether any fragment was answered."""
        self.divided = False
        """Whether its call failed and is divided: whose fault it is shows at the end."""
        self.divided_in_vain = False
        """Whether no fragment was answered, and Apple failed for more than half of the ids."""
        self.maybe_done = False
        """Whether a try was sent, left unanswered, and repeated: see `UpstreamError.maybe_done`."""
        self.failed = False
        """Whether it counts among the user's failed calls."""
        self.account = BreakerAccount(user_key)
        """What the breaker counts for it."""

    def try_failed(self, began: float, now: float) -> None:
        """Date the failure of a try that began at `began`."""
        self.first_failed = min(self.first_failed, now)
        self.last_began = max(self.last_began, began)


class Sent(msgspec.Struct, frozen=True):
    """One try, as it went out."""

    trial: Trial
    asked: Asked
    admission: Admission
    token: str
    began: float
