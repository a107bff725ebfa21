import msgspec
import pytest

from gateway.errors import AppleError, Cause, DeadlineExceeded, GatewayError, Refused
from gateway.ratings.query import TierCounts
from gateway.web.request_record import RequestRecord, request_id, trace_id

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_the_request_id_of_the_caller_is_used():
    assert request_id("abc-123") == "abc-123"
    assert request_id("a b") == "a b"


@pytest.mark.parametrize("given", [None, "", "x" * 129, "a\x7f", "ä"])
def test_a_request_id_is_generated_if_the_caller_sent_no_usable_one(given):
    made = {request_id(given), request_id(given)}
    assert len(made) == 2
    assert given not in made


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-new", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("00-xyz", None),
        ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", None),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", None),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 junk", None),
    ],
)
def test_the_trace_id_is_read_from_traceparent(given, expected):
    assert trace_id(given) == expected


def record() -> RequestRecord:
    return RequestRecord("GET", {"X-Request-Id": "mine", "traceparent": TRACEPARENT}, started=100.0)


def test_a_line_has_the_request_and_its_answer() -> None:
    answered = record()
    answered.route, answered.kind, answered.user = "/v1/me/ratings/{type}", "albums", "0badcafe"
    answered.ids, answered.status, answered.ended = 3, 200, 100.25
    answered.counts = TierCounts(local=1, shared=1, upstream=1, stale=1, calls=2)
    line = answered.line()
    assert (line.request_id, line.trace_id) == ("mine", "4bf92f3577b34da6a3ce929d0e0e4736")
    assert (line.method, line.route, line.type, line.user) == (
        "GET",
        "/v1/me/ratings/{type}",
        "albums",
        "0badcafe",
    )
    assert (line.status, line.duration_ms, line.ids) == (200, 250.0, 3)
    assert (line.local, line.shared, line.upstream, line.stale, line.upstream_calls) == (1, 1, 1, 1, 2)
    assert line.error is msgspec.UNSET


def test_the_line_of_a_failed_request_has_code_and_detail() -> None:
    failed = record()
    failed.fail(DeadlineExceeded("The deadline passed."))
    assert failed.line().error == "50400 The deadline passed."


def test_a_refusal_is_logged_without_what_the_caller_sent() -> None:
    failed = record()
    failed.fail(Refused(404, "40401", "No Such Path", "There is no /secret."))
    assert failed.line().error == "40401 No Such Path"


def test_a_recorded_error_has_neither_traceback_nor_cause() -> None:
    failed = record()
    try:
        int("no number")
    except ValueError as cause:
        error = GatewayError("failed")
        error.__cause__ = cause
        failed.fail(error.with_traceback(cause.__traceback__))
    assert failed.error is error
    assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)


@pytest.mark.parametrize(
    ("status", "cause", "level"),
    [
        (200, None, "info"),
        (404, None, "info"),
        (401, Cause.USER, "info"),
        (401, Cause.DEVELOPER_TOKEN, "warning"),
        (503, Cause.APPLE, "warning"),
        (500, None, "warning"),
    ],
)
def test_a_failure_of_the_gateway_apple_or_the_developer_token_is_a_warning(status, cause, level):
    answered = record()
    answered.status = status
    if cause is not None:
        answered.fail(AppleError(status, b"").attribute(cause, stale_allowed=False))
    assert answered.line().level == level
