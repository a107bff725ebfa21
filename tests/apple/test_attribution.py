"""What each failure is attributed to: cases for each row of the module's table, in its order."""

import re
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
import pytest

from gateway.apple import attribution as module
from gateway.apple.attribution import Asked, Evidence, Retry, Verdict, attribute
from gateway.apple.symptom import Symptom
from gateway.errors import Cause

READ = Asked(read=True, idempotent=True)
ONE = Asked(ids=1, read=True, idempotent=True)
SEVERAL = Asked(ids=25, read=True, idempotent=True)
DELETE = Asked(deletes=True, idempotent=True)
PUT = Asked(idempotent=True)
POST = Asked()
NOTHING = Evidence()
TRANSIENT = (500, 502, 503, 504)

REFUSED_USER = Verdict(Cause.USER, refused=True, quarantine=True)
REQUEST = Verdict(Cause.REQUEST, refused=True)
REFUSED_ID = Verdict(Cause.ID, refused=True)
DIVIDED_REFUSAL = Verdict(Cause.ID, refused=True, divide=True)
ISOLATED = Verdict(Cause.USER, isolate=True)
ISOLATED_TOGETHER = Verdict(Cause.USER, divide=True)
RECONNECTED = Verdict(Cause.CONNECTION, retry=Retry.AT_ONCE)
AGAINST_APPLE = Verdict(counts=True)
BACKED_OFF = Verdict(counts=True, retry=Retry.BACKED_OFF)
RENEWED = Verdict(Cause.DEVELOPER_TOKEN, retry=Retry.RENEWED)
PACED = Verdict(Cause.THROTTLED, retry=Retry.PACED)
DIVIDED_AT_ONCE = Verdict(counts=True, divide=True)
DIVIDED_FAILURE = Verdict(Cause.ID, counts=True, divide=True)
FAULT = Symptom(500)
UNREADABLE = Symptom(200, unusable=True)
TOO_LARGE = Symptom(200, unusable=True, too_large=True)
LOST = Symptom()
LATE = Symptom(timed_out=True)
MISSING = Symptom(404, unusable=True)
SPARED = Verdict(counts=True, spares_breaker=True)
NOT_FOUND = Symptom(404, enveloped=True, code="40400")
OTHER_SHAPE = Symptom(200, unusable=True, other_shape=True)


def again(asked: Asked, **changes: bool) -> Asked:
    return msgspec.structs.replace(asked, **changes)


ROWS: dict[tuple[str, str], list[Any]] = {
    ("ended by the deadline", ""): [
        ("read", Symptom(cut_short=True), READ, NOTHING, Verdict(Cause.DEADLINE)),
    ],
    ("kept connection broke", "may be sent twice, was not yet"): [
        ("read", Symptom(kept=True), READ, NOTHING, RECONNECTED),
        ("PUT", Symptom(kept=True), PUT, NOTHING, RECONNECTED),
        ("with riders", Symptom(kept=True), again(SEVERAL, riders=True), NOTHING, RECONNECTED),
    ],
    ("no connection", ""): [
        ("read", Symptom(sent=False), READ, NOTHING, BACKED_OFF),
        ("several ids, last try", Symptom(sent=False), again(SEVERAL, last=True), NOTHING, BACKED_OFF),
        ("id remembered", Symptom(sent=False), ONE, Evidence(remembered=True), BACKED_OFF),
        ("PUT", Symptom(sent=False), PUT, NOTHING, BACKED_OFF),
        ("DELETE", Symptom(sent=False), DELETE, NOTHING, BACKED_OFF),
        ("POST", Symptom(sent=False), POST, NOTHING, AGAINST_APPLE),
    ],
    ("all but 401, 403, 429", "it carries riders"): [
        ("no answer", LOST, again(SEVERAL, riders=True), NOTHING, Verdict(drop_riders=True)),
        ("500", FAULT, again(SEVERAL, riders=True), NOTHING, Verdict(drop_riders=True)),
        ("404", Symptom(404, unusable=True), again(SEVERAL, riders=True), NOTHING, Verdict(drop_riders=True)),
    ],
    ("401", "developer token accepted since"): [
        ("read", Symptom(401), READ, Evidence(token_accepted=True), REFUSED_USER),
        ("with riders", Symptom(401), again(SEVERAL, riders=True), Evidence(token_accepted=True),
         REFUSED_USER),
    ],
    ("401", ""): [
        ("read", Symptom(401), READ, NOTHING, RENEWED),
        ("PUT", Symptom(401), PUT, NOTHING, RENEWED),
        ("DELETE", Symptom(401), DELETE, NOTHING, RENEWED),
    ],
    ("403 40300", ""): [
        ("read", Symptom(403, enveloped=True, code="40300"), READ, NOTHING, REFUSED_USER),
    ],
    ("403 with another code", ""): [
        ("read", Symptom(403, enveloped=True, code="40310"), READ, NOTHING, REQUEST),
    ],
    ("403 without envelope", ""): [
        ("read", Symptom(403, code="40301"), READ, NOTHING, Verdict()),
        ("with riders", Symptom(403), again(SEVERAL, riders=True), NOTHING, Verdict()),
    ],
    ("404 with envelope", "repeated DELETE"): [
        ("DELETE", NOT_FOUND, again(DELETE, reconnected=True), NOTHING,
         Verdict(Cause.REQUEST, refused=True, done=True)),
    ],
    ("404 with envelope", ""): [
        ("DELETE", NOT_FOUND, DELETE, NOTHING, REQUEST),
        ("read", NOT_FOUND, READ, NOTHING, REQUEST),
        ("repeated PUT", NOT_FOUND, again(PUT, reconnected=True), NOTHING, REQUEST),
    ],
    ("404 without envelope", "read without ids"): [
        ("read", Symptom(404, unusable=True), READ, NOTHING, Verdict(retry=Retry.BACKED_OFF)),
    ],
    ("404 without envelope", "write"): [
        ("DELETE", Symptom(404), DELETE, NOTHING, Verdict()),
        ("repeated DELETE", Symptom(404), again(DELETE, reconnected=True), NOTHING, Verdict()),
    ],
    ("408", ""): [
        ("several ids", Symptom(408), SEVERAL, NOTHING, Verdict(divide=True)),
        ("one id", Symptom(408), ONE, NOTHING, Verdict()),
    ],
    ("429", ""): [
        ("read", Symptom(429), READ, NOTHING, PACED),
        ("PUT", Symptom(429), PUT, NOTHING, PACED),
        ("DELETE", Symptom(429), DELETE, NOTHING, PACED),
    ],
    ("400 40015", ""): [
        ("several ids", Symptom(400, enveloped=True, code="40015"), SEVERAL, NOTHING,
         Verdict(Cause.USER, refused=True)),
    ],
    ("4xx, other parameter", ""): [
        ("extend", Symptom(400, blamed="extend"), SEVERAL, NOTHING, REQUEST),
    ],
    ("4xx", "ids remembered"): [
        ("one", Symptom(400), ONE, Evidence(remembered=True), REFUSED_ID),
        ("several", Symptom(400), again(SEVERAL, single_try=True), Evidence(remembered=True), REFUSED_ID),
    ],
    ("4xx", "several ids, all refused alike before"): [
        ("400", Symptom(400), SEVERAL, Evidence(refused_alike=True), REQUEST),
    ],
    ("4xx", "several ids"): [
        ("400", Symptom(400), SEVERAL, NOTHING, DIVIDED_REFUSAL),
        ("413 that names the ids", Symptom(413, blamed="ids"), SEVERAL, NOTHING, DIVIDED_REFUSAL),
    ],
    ("4xx", "one id, variant answered"): [
        ("own call answered since", Symptom(400), ONE, Evidence(own_answered=True), REFUSED_ID),
        ("variant answered", Symptom(400), ONE, Evidence(variant_answered=True), REFUSED_ID),
    ],
    ("4xx", ""): [
        ("one id", Symptom(400), ONE, NOTHING, REQUEST),
        ("413, one id", Symptom(413), ONE, NOTHING, REQUEST),
        ("write", Symptom(400), PUT, Evidence(variant_answered=True), REQUEST),
    ],
    ("504, or none in time", "may be too large"): [
        ("504", Symptom(504), again(SEVERAL, divisible=True), NOTHING, DIVIDED_AT_ONCE),
        ("none in time", LATE, again(SEVERAL, divisible=True), NOTHING, DIVIDED_AT_ONCE),
    ],
    ("answer too large", "several ids, not remembered"): [
        ("read", TOO_LARGE, SEVERAL, NOTHING, DIVIDED_AT_ONCE),
        ("with other parameters", TOO_LARGE, again(SEVERAL, other_parameters=True), NOTHING,
         DIVIDED_AT_ONCE),
    ],
    ("JSON of another shape", "with parameters that only Apple knows"): [
        ("read", OTHER_SHAPE, again(SEVERAL, other_parameters=True), NOTHING, Verdict(Cause.REQUEST)),
    ],
    ("failed", "ids remembered"): [
        ("several", FAULT, again(SEVERAL, single_try=True), Evidence(remembered=True), Verdict(Cause.ID)),
        ("too large", TOO_LARGE, again(SEVERAL, single_try=True), Evidence(remembered=True),
         Verdict(Cause.ID)),
        ("one id", FAULT, ONE, Evidence(remembered=True), Verdict(Cause.ID)),
        ("unreadable", UNREADABLE, ONE, Evidence(remembered=True), Verdict(Cause.ID)),
        ("404", MISSING, ONE, Evidence(remembered=True), Verdict(Cause.ID)),
        ("no answer", LOST, ONE, Evidence(remembered=True), Verdict(Cause.ID)),
    ],
    ("failed", "user isolated; several ids"): [
        ("several ids", FAULT, SEVERAL, Evidence(isolated=True), ISOLATED_TOGETHER),
        ("a fragment", FAULT, again(SEVERAL, single_try=True), Evidence(isolated=True), ISOLATED_TOGETHER),
    ],
    ("failed", "user isolated, not answered since"): [
        ("one id", FAULT, ONE, Evidence(isolated=True), ISOLATED),
        ("a fragment", FAULT, again(ONE, single_try=True), Evidence(isolated=True), ISOLATED),
    ],
    ("failed", "several ids, the probe of a breaker"): [
        ("read", FAULT, SEVERAL, Evidence(probing=True), DIVIDED_FAILURE),
    ],
    ("failed", "single try, own call answered in between"): [
        ("several ids", FAULT, again(SEVERAL, single_try=True), Evidence(own_answered=True),
         Verdict(Cause.ID, divide=True)),
        ("one id", FAULT, again(ONE, single_try=True), Evidence(own_answered=True), Verdict(Cause.ID)),
    ],
    ("failed", "single try"): [
        ("504", Symptom(504), again(SEVERAL, single_try=True), NOTHING, DIVIDED_AT_ONCE),
        ("none in time", LATE, again(SEVERAL, single_try=True), NOTHING, DIVIDED_AT_ONCE),
        ("several ids", FAULT, again(SEVERAL, single_try=True), NOTHING, DIVIDED_AT_ONCE),
        ("one id", FAULT, again(ONE, single_try=True), NOTHING, AGAINST_APPLE),
        ("404", MISSING, again(ONE, single_try=True), NOTHING, SPARED),
    ],
    ("none in time again", "several ids"): [
        ("read", LATE, again(SEVERAL, repeated=True), NOTHING, DIVIDED_FAILURE),
    ],
    ("failed", "not the last try"): [
        ("unreadable", UNREADABLE, SEVERAL, NOTHING, BACKED_OFF),
        ("of another shape", OTHER_SHAPE, SEVERAL, NOTHING, BACKED_OFF),
        ("one id, too large", TOO_LARGE, ONE, NOTHING, BACKED_OFF),
        ("404", MISSING, SEVERAL, NOTHING, Verdict(counts=True, retry=Retry.BACKED_OFF, spares_breaker=True)),
        ("unreadable write", UNREADABLE, PUT, NOTHING, AGAINST_APPLE),
        ("no answer", LOST, SEVERAL, NOTHING, BACKED_OFF),
        ("none in time again, one id", LATE, again(ONE, repeated=True), NOTHING, BACKED_OFF),
        ("none in time", LATE, SEVERAL, NOTHING, BACKED_OFF),
        ("no answer, again on a new connection", Symptom(kept=True), again(READ, reconnected=True), NOTHING,
         BACKED_OFF),
        ("no answer, PUT", LOST, PUT, NOTHING, AGAINST_APPLE),
        ("no answer, DELETE", LOST, DELETE, NOTHING, AGAINST_APPLE),
        ("none in time, PUT", LATE, PUT, NOTHING, AGAINST_APPLE),
        ("none in time, DELETE", LATE, DELETE, NOTHING, AGAINST_APPLE),
        ("no answer, write, again on a new connection", Symptom(kept=True), again(PUT, reconnected=True),
         NOTHING, AGAINST_APPLE),
        ("POST, or a conditional write, on a kept connection", Symptom(kept=True), POST, NOTHING,
         AGAINST_APPLE),
        ("several ids", FAULT, SEVERAL, NOTHING, BACKED_OFF),
        ("501", Symptom(501), SEVERAL, NOTHING, AGAINST_APPLE),
        *[(f"{status}, one id", Symptom(status), ONE, NOTHING, BACKED_OFF) for status in TRANSIENT],
        *[(f"{status}, PUT", Symptom(status), PUT, NOTHING, AGAINST_APPLE) for status in TRANSIENT],
        *[(f"{status}, DELETE", Symptom(status), DELETE, NOTHING, AGAINST_APPLE) for status in TRANSIENT],
    ],
    ("failed", "several ids"): [
        ("others fail", FAULT, again(SEVERAL, last=True), Evidence(others_failing=True), DIVIDED_FAILURE),
        ("no evidence", FAULT, again(SEVERAL, last=True), NOTHING, DIVIDED_FAILURE),
        ("unreadable", UNREADABLE, again(SEVERAL, last=True), NOTHING, DIVIDED_FAILURE),
        ("404", MISSING, again(SEVERAL, last=True), NOTHING,
         Verdict(Cause.ID, counts=True, divide=True, spares_breaker=True)),
        ("no answer", LOST, again(SEVERAL, last=True), NOTHING, DIVIDED_FAILURE),
    ],
    ("failed", "one id, own call answered between failures"): [
        ("one id", FAULT, again(ONE, last=True), Evidence(own_answered=True), Verdict(Cause.ID)),
        ("404", MISSING, again(ONE, last=True), Evidence(own_answered=True), Verdict(Cause.ID)),
    ],
    ("failed", "user failed three times, others did not"): [
        ("one id", FAULT, again(ONE, last=True), Evidence(failed_calls=3),
         Verdict(Cause.USER, isolate=True)),
    ],
    ("failed", "one id, others answered"): [
        ("first failure", FAULT, again(ONE, last=True), Evidence(others_answered=True, failed_calls=1),
         Verdict(Cause.ID)),
    ],
    ("failed", ""): [
        ("a divided call without an answer", FAULT, again(READ, last=True), NOTHING, AGAINST_APPLE),
        ("user failed three times, most others fail", FAULT, again(ONE, last=True),
         Evidence(others_answered=True, others_failing=True, failed_calls=3), AGAINST_APPLE),
        ("write, others answered", FAULT, again(PUT, last=True),
         Evidence(others_answered=True, failed_calls=1), AGAINST_APPLE),
        ("user failed twice", FAULT, again(ONE, last=True), Evidence(failed_calls=2), AGAINST_APPLE),
        ("404, several ids, a call divided in vain", MISSING, again(SEVERAL, last=True),
         Evidence(divided_in_vain=True), SPARED),
        ("404, fragment, a call divided in vain", MISSING, again(SEVERAL, single_try=True),
         Evidence(divided_in_vain=True), SPARED),
    ],
}  # fmt: skip


class Case(NamedTuple):
    row: tuple[str, str]
    symptom: Symptom
    asked: Asked
    evidence: Evidence
    verdict: Verdict


CASES = {
    " - ".join(filter(None, (*row, name))): Case(row, *case)
    for row, cases in ROWS.items()
    for name, *case in cases
}


def documented() -> dict[tuple[str, str], tuple[str, str]]:
    """The table of the module: cause and verdict by what came back and the circumstances, in its order."""
    lines = (module.__doc__ or "").splitlines()
    rule = next(number for number, line in enumerate(lines) if line.startswith("---"))
    starts = [column.start() for column in re.finditer("-+", lines[rule])]
    rows = (
        [line[start:end].strip() for start, end in pairwise([*starts, None])]
        for line in lines[rule + 1 :]
        if line
    )
    return {(came, circumstances): (cause, verdict) for came, circumstances, cause, verdict in rows}


def words(verdict: Verdict) -> dict[str, bool]:
    """What a row says of its verdict, and whether it does here."""
    return {
        "counted": verdict.counts,
        "refused": verdict.refused,
        "quarantine": verdict.quarantine,
        "isolate": verdict.isolate,
        "drop them": verdict.drop_riders,
        "done": verdict.done,
        "divide": verdict.divide,
        "repeat": verdict.retry is not Retry.NEVER,
        "at once": verdict.retry is Retry.AT_ONCE,
        "renew": verdict.retry is Retry.RENEWED,
        "paced": verdict.retry is Retry.PACED,
    }


IF_POSSIBLE = {"divide", "repeat"}
"""A call for one id cannot be divided, and not everything may be sent twice."""


@pytest.mark.parametrize("name", CASES)
def test_a_failure_is_attributed(name):
    case = CASES[name]
    assert attribute(case.symptom, case.asked, case.evidence) == case.verdict


def test_every_row_of_the_table_has_a_case():
    assert list(ROWS) == list(documented())


@pytest.mark.parametrize("name", CASES)
def test_the_table_says_what_follows(name):
    verdict = CASES[name].verdict
    cause, said = documented()[CASES[name].row]
    assert verdict.cause == cause.lower().replace(" ", "_")
    said = re.sub("not counted( any more)?", "", said)
    for word, holds in words(verdict).items():
        assert holds == (word in said) or (word in IF_POSSIBLE and not holds)


@pytest.mark.parametrize("name", CASES)
def test_only_apples_failures_count_and_only_refusals_forbid_stale_ratings(name):
    verdict = CASES[name].verdict
    assert not verdict.counts or verdict.cause is Cause.APPLE or verdict.divide
    assert verdict.stale_allowed is not verdict.refused
    assert not verdict.refused or verdict.cause in (Cause.REQUEST, Cause.ID, Cause.USER)
