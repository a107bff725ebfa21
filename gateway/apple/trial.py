"""A question to Apple, and its tries as they went out."""

from math import inf

import msgspec

from gateway.apple.attribution import Asked
from gateway.apple.breaker_account import BreakerAccount
from gateway.breaker import Admission


class Trial:
    """One question to Apple, with all the tries and parts that its call becomes."""

    __slots__ = (
        "account",
        "answered",
        "began",
        "divided",
        "failed",
        "failed_elsewhere",
        "first_failed",
        "last_began",
        "maybe_done",
        "refused_alike",
        "remembered",
        "subject",
        "topic",
        "user_key",
        "variant_answered",
        "write",
    )

    def __init__(
        self,
        user_key: bytes,
        began: float,
        *,
        first_failed: float = inf,
        failed_elsewhere: float = inf,
        topic: str = "",
        subject: str | None = None,
        remembered: bool = False,
        refused_alike: bool = False,
        variant_answered: bool = False,
        write: bool = False,
    ) -> None:
        self.user_key = user_key
        self.write = write
        """Whether it changes something: reads and writes are not judged by each other."""
        self.began = began
        """When it began."""
        self.first_failed = first_failed
        """When a try failed first. If each id had failed alone before: the latest of those failures."""
        self.last_began = -inf
        """When the last try began that failed."""
        self.failed_elsewhere = failed_elsewhere
        """When its id failed for any user, if it is asked for by itself for that reason."""
        self.topic = topic
        """The path without any id: Apple may fail for one type only."""
        self.subject = subject
        """The path of the one id that is read or written; None for several."""
        self.remembered = remembered
        """Whether the id is at fault for this user, as found before."""
        self.refused_alike = refused_alike
        """Whether such a call had every part refused alike before."""
        self.variant_answered = variant_answered
        """Whether one was answered before: refusals are the ids' fault."""
        self.answered = False
        """Whether any part was answered."""
        self.divided = False
        """Whether its call failed and is divided: whose fault it is shows at the end."""
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
