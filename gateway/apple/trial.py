"""A question to Apple, and its tries as they went out."""

import msgspec

from gateway.apple.attribution import Asked
from gateway.breaker import Admission, Charge


class Trial:
    """One question to Apple, with all the tries and parts that its call becomes."""

    __slots__ = (
        "answered",
        "began",
        "charges",
        "deferred",
        "divided",
        "failed",
        "probe",
        "refused_alike",
        "remembered",
        "subject",
        "user_key",
        "write",
    )

    def __init__(
        self,
        user_key: bytes,
        began: float,
        *,
        subject: str | None = None,
        remembered: bool = False,
        refused_alike: bool = False,
        write: bool = False,
    ) -> None:
        self.user_key = user_key
        self.write = write
        """Whether it changes something: reads and writes are not judged by each other."""
        self.began = began
        """When its first try began. If each of its ids failed by itself before: when the last of them did."""
        self.subject = subject
        """The path of the one id that is read or written; None for several."""
        self.remembered = remembered
        """Whether the id failed before."""
        self.refused_alike = refused_alike
        """Whether such a call had every part refused alike before."""
        self.answered = False
        """Whether any part was answered."""
        self.divided = False
        """Whether its call failed and is divided: whose fault it is shows at the end."""
        self.failed = False
        """Whether it counts among the user's failed calls."""
        self.charges: list[Charge] = []
        """Failures that were counted against Apple."""
        self.deferred: list[tuple[Admission, str]] = []
        """Further ones, with their reasons: counted once it is clear that no id is at fault."""
        self.probe: Admission | None = None
        """Set while its whole call, the probe of a half-open breaker, is divided: its parts are the probe."""


class Sent(msgspec.Struct, frozen=True):
    """One try, as it went out."""

    trial: Trial
    asked: Asked
    admission: Admission
    token: str
    began: float
