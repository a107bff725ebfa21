"""What each failure shows of itself."""

import pytest

from gateway.apple.symptom import Symptom, symptom_of
from gateway.errors import AppleError, DeadlineExceeded, NoCapacity, Unreachable, Unusable


@pytest.mark.parametrize(
    ("failure", "shown"),
    [
        (AppleError(403, b"{}", code="40300"), Symptom(403, enveloped=True, code="40300")),
        (AppleError(403, b""), Symptom(403, code="40301")),
        (AppleError(400, b"{}", blamed="l"), Symptom(400, enveloped=True, code="40000", blamed="l")),
        (Unusable("html", received_status=200), Symptom(200, unusable=True)),
        (
            Unusable("{}", received_status=200, other_shape=True),
            Symptom(200, unusable=True, other_shape=True),
        ),
        (Unusable("[…]", received_status=200, too_large=True), Symptom(200, unusable=True, too_large=True)),
        (Unreachable("x", proxy_error="http_response_timeout", sent=True), Symptom(timed_out=True)),
        (Unreachable("x", proxy_error="connection_terminated", sent=True, kept=True), Symptom(kept=True)),
        (Unreachable("x", proxy_error="connection_refused", sent=False), Symptom(sent=False)),
        (DeadlineExceeded("late"), Symptom(cut_short=True)),
    ],
)
def test_symptoms_are_read_off_the_failure(failure, shown):
    assert symptom_of(failure) == shown


def test_what_never_reached_apple_has_no_symptom():
    with pytest.raises(AssertionError):
        symptom_of(NoCapacity("full"))
