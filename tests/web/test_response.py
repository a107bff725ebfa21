import json
from collections.abc import Iterator

import pytest

from gateway import errors
from gateway.apple.client import AppleSuccess
from gateway.apple.response import AppleResponse, failure_of
from gateway.errors import (
    AppleError,
    BreakerOpen,
    DeadlineExceeded,
    GatewayError,
    NoCapacity,
    Quarantined,
    Refused,
    Source,
    Unreachable,
    Unusable,
)
from gateway.model import Id, Kind
from gateway.ratings.query import Answer, CacheOutcome, Failure, TierCounts
from gateway.web.response import (
    Reply,
    WholeResponse,
    answer_label,
    answer_reply,
    cache_status,
    error_reply,
    failed_reply,
    one_reply,
    success_reply,
)

APPLES = b'{"errors":[{"id":"X","title":"t","detail":"d","status":"500","code":"50001"}]}'
TABLE = {
    "GatewayError": (GatewayError("a bug"), 500, "50000", None),
    "Refused": (Refused(400, "40005", "t", "d", source=Source(parameter="ids")), 400, "40005", None),
    "UpstreamError": (errors.UpstreamError("d"), 502, "50200", "error=proxy_internal_error"),
    "AppleError": (AppleError(500, APPLES, code="50001"), 500, "50001", "received-status=500"),
    "Quarantined": (Quarantined(403, b"", code="40300"), 403, "40300", ""),
    "Unusable": (
        Unusable("d", received_status=200),
        502,
        "50200",
        "error=http_protocol_error; received-status=200",
    ),
    "Unreachable": (
        Unreachable("d", proxy_error="connection_refused", sent=False),
        502,
        "50200",
        "error=connection_refused",
    ),
    "BreakerOpen": (BreakerOpen("d", retry_after=4.2), 503, "50300", "error=destination_unavailable"),
    "NoCapacity": (NoCapacity("d"), 503, "50300", "error=connection_limit_reached"),
    "DeadlineExceeded": (DeadlineExceeded("d"), 504, "50400", "error=http_response_timeout"),
}


def tree(error: type[GatewayError]) -> Iterator[type[GatewayError]]:
    yield error
    for child in error.__subclasses__():
        yield from tree(child)


def headers(reply: Reply) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in reply.head.splitlines())


def answer(outcome: CacheOutcome = CacheOutcome.HIT, **more: object) -> Answer:
    return Answer(b'{"id":"1"}', TierCounts(local=1), outcome, **more)  # type: ignore[arg-type]


def test_the_table_has_every_error():
    assert {error.__name__ for error in tree(GatewayError)} == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_every_error_becomes_an_envelope_with_its_status_and_code(name):
    error, status, code, proxy = TABLE[name]
    reply = error_reply(error)
    shown = json.loads(reply.body)["errors"][0]
    assert (reply.status, shown["code"]) == (status, code)
    assert shown["status"] == str(status)
    expected = None if proxy is None else "; ".join(["ratings-gateway", *([proxy] if proxy else [])])
    assert headers(reply).get("Proxy-Status") == expected
    assert headers(reply)["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (BreakerOpen("d", retry_after=4.2), "5"),
        (BreakerOpen("d", retry_after=0.0), "1"),
        (AppleError(429, b"{}"), "1"),
        (AppleError(429, b"{}", retry_after=30), "30"),
        (AppleError(500, b"{}"), None),
    ],
)
def test_retry_after_stands_on_429_and_503(error, expected):
    assert headers(error_reply(error)).get("Retry-After") == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b'{"a":',
        b"[1]",
        b"\xff{",
        b'{"message":"m"}',
        b'{"errors":[]}',
        b'{"errors":["x"]}',
        b'{"errors":[{"a":NaN}]}',
        b'{"errors":[{}],"errors":[{}]}',
    ],
)
def test_a_body_of_apples_that_is_not_an_error_envelope_is_replaced(body):
    shown = json.loads(error_reply(failure_of(AppleResponse(401, body))).body)["errors"][0]
    assert (shown["status"], shown["code"]) == ("401", "40100")


@pytest.mark.parametrize(
    "body",
    [APPLES, rb'{"errors":[{"detail":"\ud800"}]}', b'{"errors":[{"meta":1e999}]}'],
    ids=["usual", "half of a surrogate pair", "number beyond a float"],
)
def test_an_envelope_of_apples_is_relayed_as_it_is(body):
    """Also where it holds what JSON's grammar allows and some parsers do not."""
    assert error_reply(failure_of(AppleResponse(500, body))).body == body


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        (Source(parameter="ids"), {"parameter": "ids"}),
        (Source(pointer=""), {"pointer": ""}),
        (None, None),
    ],
)
def test_a_refusal_names_its_source(source, shown):
    reply = error_reply(Refused(400, "40005", "t", "d", source=source, headers={"Allow": "GET"}))
    assert json.loads(reply.body)["errors"][0].get("source") == shown
    assert headers(reply)["Allow"] == "GET"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            answer(ttl=271.9),
            'hit; ttl=271; detail="local=1 shared=0 upstream=0 stale=0"',
        ),
        (answer(ttl=-0.5), 'hit; ttl=-1; detail="local=1 shared=0 upstream=0 stale=0"'),
        (
            answer(CacheOutcome.STALE, upstream_status=503),
            'fwd=stale; fwd-status=503; detail="local=1 shared=0 upstream=0 stale=0"',
        ),
        (answer(CacheOutcome.STALE), 'fwd=stale; detail="local=1 shared=0 upstream=0 stale=0"'),
        (
            Answer(b"", TierCounts(upstream=2, collapsed=1), CacheOutcome.MISS, stored=True),
            'fwd=miss; stored; collapsed; detail="local=0 shared=0 upstream=2 stale=0"',
        ),
        (answer(CacheOutcome.PARTIAL), 'fwd=partial; detail="local=1 shared=0 upstream=0 stale=0"'),
        (answer(CacheOutcome.BYPASS), "fwd=bypass"),
    ],
)
def test_cache_status_has_outcome_and_counts(given, line):
    assert cache_status(given) == f"ratings-gateway; {line}"


@pytest.mark.parametrize(
    ("outcome", "counts", "label"),
    [
        (CacheOutcome.HIT, TierCounts(local=1), "hit"),
        (CacheOutcome.REQUEST, TierCounts(upstream=1), "miss"),
        (CacheOutcome.REQUEST, TierCounts(local=1, upstream=1), "partial"),
        (CacheOutcome.STALE, TierCounts(local=1, stale=1), "stale"),
    ],
)
def test_the_label_of_the_histogram_is_never_request(outcome, counts, label):
    assert answer_label(Answer(b"", counts, outcome)) == label


def test_an_answer_has_an_error_for_each_failure():
    failure = Failure(Kind.ALBUMS, Id("2"), DeadlineExceeded("late"))
    reply = answer_reply(answer(CacheOutcome.PARTIAL, failures=(failure,)), lenient=True)
    document = json.loads(reply.body)
    assert document["data"] == [{"id": "1"}]
    (shown,) = document["errors"]
    assert (shown["code"], shown["source"], shown["meta"]) == (
        "50400",
        {"parameter": "ids"},
        {"type": "albums", "id": "2"},
    )
    assert headers(reply)["Preference-Applied"] == "handling=lenient"


def test_one_unrated_id_is_404_with_the_headers_of_a_read():
    reply = one_reply(Answer(b"", TierCounts(local=1), CacheOutcome.HIT), Id("7"), lenient=False)
    assert (reply.status, json.loads(reply.body)["errors"][0]["code"]) == (404, "40400")
    assert headers(reply)["Cache-Status"].startswith("ratings-gateway; hit")


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        (CacheOutcome.PARTIAL, 'ratings-gateway; fwd=partial; detail="local=1 shared=0 upstream=0 stale=0"'),
        (CacheOutcome.BYPASS, "ratings-gateway; fwd=bypass"),
        (CacheOutcome.HIT, None),
    ],
)
def test_a_failed_read_has_its_cache_status(outcome, line):
    failures = tuple(Failure(Kind.ALBUMS, Id(id_), DeadlineExceeded(f"late {id_}")) for id_ in "23")
    reply = failed_reply(answer(outcome, failures=failures))
    assert (reply.status, json.loads(reply.body)["errors"][0]["detail"]) == (504, "late 2")
    assert (headers(reply).get("Cache-Status"), reply.cache_status) == (line, line or "")


def test_no_content_has_no_content_type():
    reply = success_reply(AppleSuccess(204, b""), CacheOutcome.METHOD)
    assert (reply.status, reply.body) == (204, b"")
    assert "Content-Type" not in headers(reply)
    assert headers(reply)["Cache-Status"] == "ratings-gateway; fwd=method"


def test_a_response_to_head_has_the_length_but_not_the_body():
    whole = WholeResponse(200, "X: y\r\n", b"12345", keep_alive=False, bodiless=True).whole
    assert b"Content-Length: 5\r\n" in whole
    assert b"Connection: close\r\n" in whole
    assert whole.endswith(b"\r\n\r\n")
