"""What each failure is attributed to: a test per row of the module's table, in its order."""

import msgspec
import pytest

from gateway.apple.attribution import Asked, Evidence, Retry, Symptom, Verdict, attribute, symptom
from gateway.errors import Cause, DeadlineExceeded, NoCapacity, Relayed, Unreachable, Unusable

READ = Asked(read=True, idempotent=True)
ONE = Asked(ids=1, read=True, idempotent=True)
SEVERAL = Asked(ids=25, read=True, idempotent=True)
DELETE = Asked(deletes=True, idempotent=True)
PUT = Asked(idempotent=True)
POST = Asked()
NOTHING = Evidence()

REFUSED_USER = Verdict(Cause.USER, stale_allowed=False, quarantine=True)
REQUEST = Verdict(Cause.REQUEST, stale_allowed=False)
REFUSED_ID = Verdict(Cause.ID, stale_allowed=False)
AGAINST_APPLE = Verdict(counts=True)
FAULT = Symptom(500)


def again(asked: Asked, **changes: bool) -> Asked:
    return msgspec.structs.replace(asked, **changes)


ROWS = [
    ("ended by the deadline", Symptom(cut_short=True), READ, NOTHING, Verdict(Cause.DEADLINE)),
    ("500 of a call with riders", FAULT, again(SEVERAL, riders=True), NOTHING, Verdict(drop_riders=True)),
    ("403 of a call with riders", Symptom(403), again(SEVERAL, riders=True), NOTHING, Verdict()),
    ("401, token accepted since", Symptom(401), READ, Evidence(token_accepted=True), REFUSED_USER),
    ("401", Symptom(401), READ, NOTHING, Verdict(Cause.DEVELOPER_TOKEN, retry=Retry.RENEWED)),
    ("403 40300", Symptom(403, enveloped=True, code="40300"), READ, NOTHING, REFUSED_USER),
    ("403 with another code", Symptom(403, enveloped=True, code="40310"), READ, NOTHING, REQUEST),
    ("403 without envelope", Symptom(403, code="40301"), READ, NOTHING, Verdict()),
    ("404 to a repeated DELETE", Symptom(404, enveloped=True, code="40400"), again(DELETE, reconnected=True),
     NOTHING, Verdict(Cause.REQUEST, stale_allowed=False, done=True)),
    ("404 to a DELETE", Symptom(404, enveloped=True, code="40400"), DELETE, NOTHING, REQUEST),
    ("404 without envelope to a read", Symptom(404, unusable=True), READ, NOTHING,
     Verdict(retry=Retry.BACKED_OFF)),
    ("404 without envelope to a DELETE", Symptom(404), DELETE, NOTHING, Verdict()),
    ("408", Symptom(408), SEVERAL, NOTHING, Verdict(divide=True)),
    ("429", Symptom(429), READ, NOTHING, Verdict(Cause.THROTTLED, retry=Retry.PACED)),
    ("no subscription", Symptom(400, enveloped=True, code="40015"), SEVERAL, NOTHING,
     Verdict(Cause.USER, stale_allowed=False)),
    ("400, another parameter", Symptom(400, blamed="extend"), SEVERAL, NOTHING, REQUEST),
    ("400 to a write", Symptom(400), PUT, NOTHING, REQUEST),
    ("400, several ids refused alike before", Symptom(400), SEVERAL, Evidence(refused_alike=True), REQUEST),
    ("400, several ids", Symptom(400), SEVERAL, NOTHING,
     Verdict(Cause.ID, stale_allowed=False, divide=True)),
    ("413, several ids", Symptom(413, blamed="ids"), SEVERAL, NOTHING,
     Verdict(Cause.ID, stale_allowed=False, divide=True)),
    ("400, one id that is remembered", Symptom(400), ONE, Evidence(remembered=True), REFUSED_ID),
    ("400, one id, own calls answered lately", Symptom(400), ONE, Evidence(own_answered_lately=True),
     REFUSED_ID),
    ("400, one id", Symptom(400), ONE, NOTHING, REQUEST),
    ("kept connection broke, read", Symptom(kept=True), READ, NOTHING,
     Verdict(Cause.CONNECTION, retry=Retry.AT_ONCE)),
    ("kept connection broke, PUT", Symptom(kept=True), PUT, NOTHING,
     Verdict(Cause.CONNECTION, retry=Retry.AT_ONCE)),
    ("kept connection broke, POST or conditional", Symptom(kept=True), POST, NOTHING, AGAINST_APPLE),
    ("kept connection broke again", Symptom(kept=True), again(PUT, reconnected=True), NOTHING,
     AGAINST_APPLE),
    ("no answer to a read", Symptom(), READ, NOTHING, Verdict(counts=True, retry=Retry.BACKED_OFF)),
    ("no answer to a write", Symptom(), PUT, NOTHING, AGAINST_APPLE),
    ("no connection for a write", Symptom(sent=False), PUT, NOTHING,
     Verdict(counts=True, retry=Retry.BACKED_OFF)),
    ("no connection for a POST", Symptom(sent=False), POST, NOTHING, AGAINST_APPLE),
    ("504 of a large call", Symptom(504), again(SEVERAL, divisible=True), NOTHING, Verdict(divide=True)),
    ("no sound answer to a read", Symptom(200, unusable=True), SEVERAL, NOTHING,
     Verdict(counts=True, retry=Retry.BACKED_OFF)),
    ("no sound answer to a write", Symptom(200, unusable=True), PUT, NOTHING, AGAINST_APPLE),
    ("500, id remembered", FAULT, ONE, Evidence(remembered=True), Verdict(Cause.ID)),
    ("500, user isolated", FAULT, SEVERAL, Evidence(isolated=True), Verdict(Cause.USER, isolate=True)),
    ("500 to a part, others answered", FAULT, again(SEVERAL, part=True), Evidence(own_answered=True),
     Verdict(Cause.ID, divide=True)),
    ("500 to a part", FAULT, again(SEVERAL, part=True), NOTHING, Verdict(counts=True, divide=True)),
    ("500 to a part, others fail", FAULT, again(SEVERAL, part=True), Evidence(others_failing=True),
     AGAINST_APPLE),
    ("500 to a part of one id", FAULT, again(ONE, part=True), NOTHING, AGAINST_APPLE),
    ("500, not the last try", FAULT, SEVERAL, NOTHING, Verdict(counts=True, retry=Retry.BACKED_OFF)),
    ("501, not the last try", Symptom(501), SEVERAL, NOTHING, AGAINST_APPLE),
    ("500 to a write", FAULT, PUT, NOTHING, AGAINST_APPLE),
    ("500, several ids", FAULT, again(SEVERAL, last=True), NOTHING,
     Verdict(Cause.ID, counts=True, divide=True)),
    ("500, several ids in an outage", FAULT, again(SEVERAL, last=True), Evidence(others_failing=True),
     AGAINST_APPLE),
    ("500, one id, own call answered since", FAULT, again(ONE, last=True), Evidence(own_answered=True),
     Verdict(Cause.ID)),
    ("500, user failed twice, others answered", FAULT, again(ONE, last=True),
     Evidence(others_answered=True, failed_calls=2), Verdict(Cause.USER, isolate=True)),
    ("500, user failed twice, most others fail", FAULT, again(ONE, last=True),
     Evidence(others_answered=True, others_failing=True, failed_calls=2), AGAINST_APPLE),
    ("500, one id, others answered", FAULT, again(ONE, last=True),
     Evidence(others_answered=True, failed_calls=1), Verdict(Cause.ID)),
    ("500 to a write, others answered", FAULT, again(PUT, last=True),
     Evidence(others_answered=True, failed_calls=1), AGAINST_APPLE),
    ("500, no evidence", FAULT, again(ONE, last=True), Evidence(failed_calls=9), AGAINST_APPLE),
]  # fmt: skip


@pytest.mark.parametrize(
    ("came", "asked", "seen", "verdict"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_a_failure_is_attributed(came, asked, seen, verdict):
    assert attribute(came, asked, seen) == verdict


@pytest.mark.parametrize("verdict", [attribute(*row[1:4]) for row in ROWS])
def test_only_apples_failures_count_and_only_refusals_forbid_stale_ratings(verdict):
    assert not verdict.counts or verdict.cause is Cause.APPLE or verdict.divide
    assert verdict.stale_allowed or verdict.cause in (Cause.REQUEST, Cause.ID, Cause.USER)


@pytest.mark.parametrize(
    ("failure", "shown"),
    [
        (Relayed(403, b"{}", code="40300"), Symptom(403, enveloped=True, code="40300")),
        (Relayed(403, b""), Symptom(403, code="40301")),
        (Relayed(400, b"{}", blamed="l"), Symptom(400, enveloped=True, code="40000", blamed="l")),
        (Unusable("html", received_status=200), Symptom(200, unusable=True)),
        (Unreachable("x", proxy_error="connection_terminated", sent=True, kept=True), Symptom(kept=True)),
        (Unreachable("x", proxy_error="connection_refused", sent=False), Symptom(sent=False)),
        (DeadlineExceeded("late"), Symptom(cut_short=True)),
    ],
)
def test_symptoms_are_read_off_the_failure(failure, shown):
    assert symptom(failure) == shown


def test_what_never_reached_apple_has_no_symptom():
    with pytest.raises(AssertionError):
        symptom(NoCapacity("full"))
