"""What came back from a try that failed, as far as its attribution depends on it. Pure."""

import msgspec

from gateway.errors import AppleError, DeadlineExceeded, Unreachable, Unusable, UpstreamError


class Symptom(msgspec.Struct, frozen=True):
    """What came back from a try that failed."""

    status: int | None = None
    enveloped: bool = False
    code: str | None = None
    blamed: str | None = None
    """The parameter that the error names as its source."""
    unusable: bool = False
    """An answer came that is not one of Apple's API."""
    other_shape: bool = False
    """It is well-formed JSON, but not a list of ratings."""
    too_large: bool = False
    """It is larger than the gateway reads."""
    timed_out: bool = False
    """No whole answer came in the time of a call."""
    sent: bool = True
    """Whether any byte of the request may have reached Apple."""
    kept: bool = False
    """Whether a kept connection broke before any byte of an answer."""
    cut_short: bool = False
    """Whether the caller's deadline ended it."""


def symptom_of(failure: UpstreamError) -> Symptom:
    """What `failure` shows."""
    match failure:
        case AppleError():
            return Symptom(failure.status, failure.enveloped, failure.code, failure.blamed)
        case Unusable():
            return Symptom(
                failure.received_status,
                unusable=True,
                other_shape=failure.other_shape,
                too_large=failure.too_large,
            )
        case Unreachable():
            return Symptom(sent=failure.sent, kept=failure.kept, timed_out=failure.timed_out)
        case DeadlineExceeded():
            return Symptom(cut_short=True)
    raise AssertionError(failure)
