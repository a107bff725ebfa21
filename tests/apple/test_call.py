"""What a call says of itself to those that decide whether it is repeated, and whose a failure is."""

import pytest

from gateway.apple.call import asked_of, status_label
from gateway.errors import AppleError, DeadlineExceeded, Unreachable, Unusable, UpstreamError


@pytest.mark.parametrize(
    ("method", "headers", "idempotent"),
    [
        ("GET", {}, True),
        ("PUT", {}, True),
        ("DELETE", {}, True),
        ("POST", {}, False),
        ("PUT", {"If-Match": '"1"'}, False),
        ("DELETE", {"If-Unmodified-Since": "Mon, 01 Jan 2024 00:00:00 GMT"}, False),
    ],
)
def test_a_post_and_a_conditional_write_may_not_be_sent_twice(method, headers, idempotent):
    assert asked_of(method, headers).idempotent is idempotent


@pytest.mark.parametrize(
    ("method", "read", "deletes"),
    [("GET", True, False), ("PUT", False, False), ("DELETE", False, True), ("POST", False, False)],
)
def test_a_call_is_a_read_a_deletion_or_neither(method, read, deletes):
    asked = asked_of(method)
    assert (asked.read, asked.deletes) == (read, deletes)


@pytest.mark.parametrize(
    ("failure", "label"),
    [
        (AppleError(500, b""), "500"),
        (AppleError(504, b""), "504"),
        (Unreachable("gone", proxy_error="connection_terminated", sent=True), "connection_terminated"),
        (Unreachable("late", proxy_error="http_response_timeout", sent=True), "http_response_timeout"),
        (Unusable("html", received_status=200), "unusable"),
        (DeadlineExceeded("late"), "deadline"),
    ],
)
def test_metrics_are_labelled_with_apples_status_or_the_kind_of_failure(failure: UpstreamError, label: str):
    assert status_label(failure) == label
