"""The evidence on a failed call, from what was recorded before."""

import pytest

from gateway.apple.observations import Observations
from gateway.apple.trial import Trial
from gateway.breaker import Breaker

ADA, BEN = b"a" * 16, b"b" * 16
ONE, OTHER = "/v1/me/ratings/albums/1", "/v1/me/ratings/albums/2"


@pytest.fixture
def breaker():
    return Breaker(error_rate=0.5, window_seconds=10.0, min_calls=1, open_seconds=5.0)


@pytest.fixture
def observations(breaker):
    return Observations(breaker)


def read(began: float, user: bytes = ADA) -> Trial:
    return Trial(user, began)


def write(began: float, subject: str | None = ONE, user: bytes = ADA) -> Trial:
    return Trial(user, began, subject=subject, write=True)


def test_reads_and_writes_are_evidence_for_their_own_kind(observations):
    observations.answered(write(1.0), 1.0, 2.0)
    assert not observations.evidence(read(0.5), 3.0).own_answered
    assert observations.evidence(write(0.5), 3.0).own_answered


def test_a_part_of_the_same_call_is_evidence(observations):
    trial = read(1.0)
    trial.answered = True
    assert observations.evidence(trial, 2.0).own_answered


class TestFailedCalls:
    def test_a_call_counts_once_among_those_of_its_user_that_failed(self, observations):
        trial = read(1.0)
        assert [observations.failed(trial, 2.0), observations.failed(trial, 2.0)] == [True, False]
        assert observations.evidence(trial, 2.0).failed_calls == 1

    def test_none_counts_if_the_user_is_answered_meanwhile(self, observations):
        observations.answered(read(2.0), 2.0, 3.0)
        assert not observations.failed(read(1.0), 4.0)

    def test_none_counts_while_the_breaker_is_open(self, observations, breaker):
        admission = breaker.admit(1.0)
        breaker.record(admission, ok=False, now=1.0)
        assert not observations.failed(read(1.0), 2.0)


class TestWritesThatFailAgain:
    @pytest.mark.parametrize("other", [read(3.0), write(3.0, OTHER)])
    def test_the_id_is_at_fault_if_another_call_of_the_user_was_answered_since(self, observations, other):
        observations.write_failed(write(1.0), 2.0)
        assert not observations.evidence(write(2.5), 2.5).remembered
        observations.answered(other, other.began, 4.0)
        assert observations.evidence(write(5.0), 6.0).remembered
        assert not observations.evidence(write(5.0, OTHER), 6.0).remembered
        assert not observations.evidence(read(5.0), 6.0).remembered

    def test_answers_to_other_users_show_nothing(self, observations):
        observations.write_failed(write(1.0), 2.0)
        observations.answered(read(3.0, BEN), 3.0, 4.0)
        assert not observations.evidence(write(5.0), 6.0).remembered

    def test_answers_while_the_first_write_fails_show_nothing(self, observations):
        observations.answered(read(1.5), 1.5, 1.6)
        assert not observations.evidence(write(1.0), 2.0).remembered

    def test_a_write_that_is_carried_out_or_names_no_id_is_not_remembered(self, observations):
        observations.write_failed(write(1.0), 2.0)
        observations.write_failed(write(1.0, None), 2.0)
        observations.answered(write(3.0), 3.0, 4.0)
        assert not observations.evidence(write(5.0), 6.0).remembered
        assert not observations.evidence(write(5.0, None), 6.0).remembered

    def test_an_outage_explains_it(self, observations):
        observations.write_failed(write(1.0), 2.0)
        observations.forget_failures()
        observations.answered(read(3.0), 3.0, 4.0)
        assert not observations.evidence(write(5.0), 6.0).remembered
