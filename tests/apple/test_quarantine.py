"""Users for whom Apple is not asked for a while."""

import pytest

from gateway.apple import quarantine as module
from gateway.apple.quarantine import Quarantine
from gateway.errors import AppleError, Cause, Quarantined, UpstreamError
from gateway.telemetry.metrics import Metrics

ALICE, BOB = b"a" * 16, b"b" * 16
REFUSAL = AppleError(403, b'{"errors":[]}', code="40300")
UNAUTHORIZED = AppleError(401, b"")
FAULT = AppleError(500, b'{"errors":[{}]}', code="50001").attribute(Cause.USER, stale_allowed=True)


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def quarantine(metrics):
    return Quarantine(seconds=10.0, metrics=metrics)


def answer_from(quarantine: Quarantine, now: float) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        quarantine.check(ALICE, now)
    return caught.value


def test_a_refused_user_is_kept_away_for_the_time_set(quarantine):
    quarantine.refuse(ALICE, REFUSAL, 100.0)
    assert quarantine.is_refused(ALICE, 109.9)
    assert not quarantine.is_refused(ALICE, 110.0)
    assert not quarantine.is_refused(BOB, 100.0)


@pytest.mark.parametrize(
    ("refusal", "status", "code"), [(REFUSAL, 403, "40300"), (UNAUTHORIZED, 401, "40100")]
)
def test_a_refused_user_gets_what_apple_said_and_nothing_stale(quarantine, metrics, refusal, status, code):
    quarantine.refuse(ALICE, refusal, 100.0)
    answer = answer_from(quarantine, 104.0)
    assert isinstance(answer, Quarantined)
    assert (answer.status, answer.code, answer.body) == (status, code, refusal.body)
    assert (answer.retry_after, answer.received_status, answer.stale_allowed) == (6.0, None, False)
    assert metrics.registry.get_sample_value("gateway_quarantined_requests_total") == 1.0


def test_an_isolated_user_gets_apples_last_error_and_may_get_stale_ratings(quarantine):
    quarantine.isolate(ALICE, FAULT, 100.0)
    assert not quarantine.is_refused(ALICE, 104.0)
    answer = answer_from(quarantine, 104.0)
    assert (answer.status, answer.code, answer.cause) == (500, "50001", Cause.USER)
    assert (answer.retry_after, answer.received_status, answer.stale_allowed) == (6.0, None, True)


def test_an_answer_ends_an_isolation_and_no_refusal(quarantine):
    quarantine.isolate(ALICE, FAULT, 100.0)
    quarantine.refuse(BOB, REFUSAL, 100.0)
    quarantine.lift_isolation(ALICE)
    quarantine.lift_isolation(BOB)
    assert quarantine.answer(ALICE, 101.0) is None
    assert quarantine.is_refused(BOB, 101.0)


def test_a_failure_of_an_earlier_call_does_not_end_a_refusal(quarantine):
    quarantine.refuse(ALICE, REFUSAL, 100.0)
    quarantine.isolate(ALICE, FAULT, 101.0)
    assert quarantine.is_refused(ALICE, 102.0)


def test_a_user_whose_writes_fail_may_read(quarantine, metrics):
    quarantine.isolate(ALICE, FAULT, 100.0, writes_only=True)
    quarantine.check(ALICE, 101.0)
    assert quarantine.answer(ALICE, 101.0) is None
    assert quarantine.answer(ALICE, 101.0, write=True) is not None
    quarantine.lift_isolation(ALICE)
    assert quarantine.answer(ALICE, 101.0, write=True) is not None
    quarantine.lift_isolation(ALICE, write=True)
    assert quarantine.answer(ALICE, 101.0, write=True) is None


def test_failing_writes_do_not_end_what_stops_reads_too(quarantine):
    quarantine.isolate(ALICE, FAULT, 100.0)
    quarantine.isolate(ALICE, FAULT, 101.0, writes_only=True)
    assert quarantine.answer(ALICE, 102.0) is not None
    quarantine.isolate(BOB, FAULT, 100.0, writes_only=True)
    quarantine.isolate(BOB, FAULT, 101.0)
    assert quarantine.answer(BOB, 102.0) is not None


def test_each_answer_is_an_exception_of_its_own(quarantine):
    quarantine.isolate(ALICE, FAULT, 100.0)
    assert answer_from(quarantine, 104.0) is not answer_from(quarantine, 104.0)


def test_a_refusal_of_unusual_length_is_not_kept(quarantine):
    quarantine.refuse(ALICE, AppleError(403, b" " * (module.LONGEST_BODY + 1), code="40300"), 100.0)
    answer = answer_from(quarantine, 104.0)
    assert isinstance(answer, AppleError)
    assert (answer.code, answer.body) == ("40300", b"")


def test_others_and_later_requests_pass(quarantine, metrics):
    quarantine.refuse(ALICE, REFUSAL, 100.0)
    quarantine.check(BOB, 100.0)
    quarantine.check(ALICE, 110.0)
    assert metrics.registry.get_sample_value("gateway_quarantined_requests_total") == 0.0


def test_a_refused_developer_token_lifts_what_came_from_401s(quarantine):
    quarantine.refuse(ALICE, UNAUTHORIZED, 100.0)
    quarantine.refuse(BOB, REFUSAL, 100.0)
    quarantine.lift_unauthorized()
    assert not quarantine.is_refused(ALICE, 100.0)
    assert quarantine.is_refused(BOB, 100.0)


def test_zero_seconds_turn_it_off(metrics):
    quarantine = Quarantine(seconds=0.0, metrics=metrics)
    quarantine.refuse(ALICE, REFUSAL, 100.0)
    assert not quarantine.is_refused(ALICE, 100.0)


def test_a_second_refusal_renews_it(quarantine):
    quarantine.refuse(ALICE, REFUSAL, 100.0)
    quarantine.refuse(ALICE, REFUSAL, 105.0)
    assert quarantine.is_refused(ALICE, 114.0)


def test_beyond_the_bound_the_oldest_user_is_dropped(quarantine, monkeypatch):
    monkeypatch.setattr(module, "MOST_USERS", 2)
    quarantine.refuse(ALICE, REFUSAL, 100.0)
    quarantine.refuse(BOB, REFUSAL, 100.0)
    quarantine.refuse(ALICE, REFUSAL, 101.0)
    quarantine.refuse(b"c" * 16, REFUSAL, 101.0)
    assert quarantine.is_refused(ALICE, 101.0)
    assert not quarantine.is_refused(BOB, 101.0)
