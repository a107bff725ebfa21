import re
from collections.abc import Iterator

import pytest

from gateway import errors
from gateway.errors import (
    AppleError,
    BreakerOpen,
    Cause,
    DeadlineExceeded,
    GatewayError,
    NoCapacity,
    Quarantined,
    Unreachable,
    Unusable,
    UpstreamError,
)


def tree(error: type[GatewayError], depth: int = 0) -> Iterator[tuple[int, str]]:
    yield depth, error.__name__
    for child in error.__subclasses__():
        yield from tree(child, depth + 1)


def test_the_tree_in_the_documentation_has_every_error_in_its_place():
    lines = re.findall(r"^([│├└─ ]*)(\w+)(?: +(\d{3}) )?", errors.__doc__ or "", re.MULTILINE)
    drawn = [(len(indent) // 4, name) for indent, name, _ in lines if hasattr(errors, name)]
    assert drawn == [*tree(GatewayError)]


def test_statuses_in_the_documentation_are_those_of_the_errors():
    drawn = dict(re.findall(r"─ (\w+) +(\d{3}) ", errors.__doc__ or ""))
    assert drawn
    assert {name: str(getattr(errors, name).status) for name in drawn} == drawn


class TestAppleError:
    @pytest.mark.parametrize(
        ("status", "code", "shown"),
        [(500, None, "50000"), (401, None, "40100"), (403, None, "40301"), (403, "40300", "40300")],
    )
    def test_its_code_is_apples_or_follows_from_the_status(self, status, code, shown):
        assert AppleError(status, b"", code=code).code == shown

    def test_it_comes_from_apple_itself_if_it_has_an_envelope(self):
        assert AppleError(403, b'{"errors":[{}]}').enveloped
        assert not AppleError(403, b"").enveloped


class TestAsRemembered:
    def test_a_remembered_failure_has_the_same_answer_but_no_received_status(self):
        failure = AppleError(500, b"{}", code="50001", retry_after=3.0)
        failure.attribute(Cause.ID, stale_allowed=True)
        again = failure.as_remembered()
        assert again is not failure
        assert (type(again), again.status, again.body, again.code) == (AppleError, 500, b"{}", "50001")
        assert (again.cause, again.stale_allowed, again.retry_after) == (Cause.ID, True, 3.0)
        assert (failure.received_status, again.received_status) == (500, None)
        assert again.reason == "500"

    def test_the_failure_itself_is_not_remembered(self):
        failure = Unreachable("reset", proxy_error="connection_terminated", sent=True)
        assert failure.as_remembered().remembered
        assert not failure.remembered

    def test_a_quarantined_user_gets_a_remembered_failure_and_nothing_stale(self):
        quarantined = Quarantined(403, b"")
        assert (quarantined.remembered, quarantined.received_status) == (True, None)
        assert (quarantined.cause, quarantined.stale_allowed) == (Cause.USER, False)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AppleError(503, b""), "503"),
        (Unusable("HTML", received_status=200), "unusable answer"),
        (Unreachable("refused", proxy_error="connection_refused", sent=False), "connection refused"),
        (BreakerOpen("open"), "destination unavailable"),
        (DeadlineExceeded("late"), "http response timeout"),
        (UpstreamError("failed"), "proxy internal error"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_the_reason_is_apples_status_or_the_kind_of_failure(error, reason):
    assert error.reason == reason


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (UpstreamError("failed"), Cause.APPLE),
        (NoCapacity("full"), Cause.CAPACITY),
        (DeadlineExceeded("late"), Cause.DEADLINE),
        (AppleError(400, b"").attribute(Cause.REQUEST, stale_allowed=False), Cause.REQUEST),
    ],
    ids=["Apple's by default", "capacity", "deadline", "attributed"],
)
def test_a_failure_has_a_cause(error, cause):
    assert error.cause is cause
