"""The evidence on a failed call, from what was recorded before."""

import pytest

from gateway.apple.observations import MOST_IN_VAIN, Observations
from gateway.apple.trial import PriorFailures, Trial
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


def failed(trial: Trial, *moments: float) -> Trial:
    """Let tries of `trial` fail, each at once."""
    for moment in moments:
        trial.try_failed(moment, moment)
    return trial


def test_reads_and_writes_are_evidence_for_their_own_kind(observations):
    observations.answered(write(1.0), 1.0)
    assert not observations.evidence(failed(read(0.5), 0.9, 2.0), 3.0).own_answered
    assert observations.evidence(failed(write(0.5), 0.9, 2.0), 3.0).own_answered


def test_that_a_call_was_divided_in_vain_is_evidence_for_its_type_for_ten_seconds(observations):
    albums, songs = (Trial(ADA, 0.0, topic=topic) for topic in ("albums", "songs"))
    observations.divided_in_vain(albums, 1.0)
    assert observations.evidence(albums, 10.9).divided_in_vain
    assert not observations.evidence(songs, 10.9).divided_in_vain
    assert not observations.evidence(albums, 11.0).divided_in_vain


class TestDividedInVain:
    """A call of Ada's for albums was divided in vain; other calls for albums are answered, or fail."""

    @pytest.fixture
    def observations(self, observations):
        observations.divided_in_vain(self.albums(), 2.0)
        return observations

    def albums(self, user: bytes = ADA) -> Trial:
        return Trial(user, 0.0, topic="albums")

    def seen_by(self, observations: Observations, now: float = 5.0) -> list[bool]:
        return [observations.evidence(self.albums(user), now).divided_in_vain for user in (ADA, BEN)]

    def test_it_is_evidence_for_every_user(self, observations):
        assert self.seen_by(observations) == [True, True]

    def test_an_answer_to_another_user_leaves_it_for_its_own_user(self, observations):
        observations.answered(self.albums(BEN), 2.1)
        assert self.seen_by(observations) == [True, False]
        assert self.seen_by(observations, 12.0) == [False, False]

    def test_an_answer_to_its_own_user_ends_it_for_all(self, observations):
        observations.answered(self.albums(), 2.1)
        assert self.seen_by(observations) == [False, False]

    def test_an_answer_to_its_own_user_ends_it_although_another_was_answered_before(self, observations):
        observations.answered(self.albums(BEN), 2.1)
        observations.answered(self.albums(), 2.2)
        assert self.seen_by(observations) == [False, False]

    @pytest.mark.parametrize(
        ("trial", "began"),
        [
            (Trial(BEN, 0.0, topic="albums"), 2.0),
            (Trial(BEN, 0.0, topic="songs"), 2.1),
            (Trial(BEN, 0.0, topic="albums", write=True), 2.1),
        ],
    )
    def test_other_answers_say_nothing(self, observations, trial, began):
        observations.answered(trial, began)
        assert self.seen_by(observations) == [True, True]

    def test_it_is_remembered_for_so_many_users_at_most(self, observations):
        for number in range(MOST_IN_VAIN):
            observations.divided_in_vain(self.albums(b"%d" % number), 3.0)
        observations.answered(self.albums(BEN), 3.1)
        assert self.seen_by(observations) == [False, False]
        assert observations.evidence(self.albums(b"0"), 5.0).divided_in_vain


def test_a_fragment_of_the_same_call_is_evidence(observations):
    trial = read(1.0)
    trial.answered = True
    assert observations.evidence(trial, 2.0).own_answered


@pytest.mark.parametrize(
    ("began", "answered"), [(1.5, False), (2.0, False), (2.1, True), (4.0, True), (4.1, False)]
)
def test_an_answer_is_evidence_if_its_call_began_between_two_failures(observations, began, answered):
    observations.answered(read(began), began)
    assert observations.evidence(failed(read(1.0), 2.0, 4.0), 5.0).own_answered is answered


@pytest.mark.parametrize("user", [ADA, BEN])
def test_an_id_that_failed_for_another_user_is_at_fault_if_anything_was_answered_since(observations, user):
    again = Trial(ADA, 3.0, prior=PriorFailures(failed_elsewhere=2.0))
    observations.answered(read(1.0, user), 1.0)
    assert not observations.evidence(again, 4.0).remembered
    observations.answered(read(3.0, user), 3.0)
    assert observations.evidence(again, 4.0).remembered
    assert not observations.evidence(read(3.0), 4.0).remembered


class TestFailedCalls:
    def test_a_call_counts_once_among_those_of_its_user_that_failed(self, observations):
        trial = read(1.0)
        assert [observations.failed(trial, 2.0), observations.failed(trial, 2.0)] == [True, False]
        assert observations.evidence(trial, 2.0).failed_calls == 1

    def test_none_counts_if_the_user_is_answered_meanwhile(self, observations):
        observations.answered(read(2.0), 2.0)
        assert not observations.failed(read(1.0), 4.0)

    def test_none_counts_while_the_breaker_is_open(self, observations, breaker):
        admission = breaker.admit(1.0)
        breaker.record(admission, ok=False, now=1.0)
        assert not observations.failed(read(1.0), 2.0)


class TestWritesThatFailAgain:
    @pytest.mark.parametrize("other", [read(3.0), write(3.0, OTHER)])
    def test_the_id_is_at_fault_if_another_call_of_the_user_was_answered_since(self, observations, other):
        observations.write_failed(failed(write(1.0), 2.0), 2.0)
        assert not observations.evidence(failed(write(2.5), 2.5), 2.5).remembered
        observations.answered(other, other.began)
        assert observations.evidence(failed(write(5.0), 5.0), 6.0).remembered
        assert not observations.evidence(failed(write(5.0, OTHER), 5.0), 6.0).remembered
        assert not observations.evidence(failed(read(5.0), 5.0), 6.0).remembered

    def test_answers_to_other_users_show_nothing(self, observations):
        observations.write_failed(failed(write(1.0), 2.0), 2.0)
        observations.answered(read(3.0, BEN), 3.0)
        assert not observations.evidence(failed(write(5.0), 5.0), 6.0).remembered

    def test_answers_while_the_first_write_fails_show_nothing(self, observations):
        observations.answered(read(1.5), 1.5)
        observations.write_failed(failed(write(1.0), 2.0), 2.0)
        assert not observations.evidence(failed(write(3.0), 3.0), 3.0).remembered

    def test_a_write_that_is_carried_out_or_names_no_id_is_not_remembered(self, observations):
        observations.write_failed(failed(write(1.0), 2.0), 2.0)
        observations.write_failed(failed(write(1.0, None), 2.0), 2.0)
        observations.answered(write(3.0), 3.0)
        assert not observations.evidence(failed(write(5.0), 5.0), 6.0).remembered
        assert not observations.evidence(failed(write(5.0, None), 5.0), 6.0).remembered

    def test_an_outage_explains_it(self, observations):
        observations.write_failed(failed(write(1.0), 2.0), 2.0)
        observations.forget_failures()
        observations.answered(read(3.0), 3.0)
        assert not observations.evidence(failed(write(5.0), 5.0), 6.0).remembered
