"""What users' calls have shown lately."""

from math import inf

import pytest

from gateway.apple import user_records as module
from gateway.apple.user_records import FailedWrites, UserRecords

ADA, BEN = b"a" * 16, b"b" * 16


@pytest.fixture
def users():
    return UserRecords()


def test_a_user_who_never_asked_has_no_evidence(users):
    assert not users.own_answered(ADA, 0.0)
    assert not users.others_answered(ADA, 9.0, 9.0)
    assert not users.is_isolated(ADA)
    assert users.failed_calls(ADA, 9.0) == 0


def test_an_answer_counts_by_when_its_call_began(users):
    users.answered(ADA, 5.0)
    assert users.own_answered(ADA, 4.9)
    assert not users.own_answered(ADA, 5.0)


def test_an_answer_between_two_failures_is_of_a_call_that_began_between_them(users):
    for began in (2.0, 3.0, 4.0):
        users.answered(ADA, began)
    assert users.own_answered_between(ADA, 2.0, 3.0)
    assert not users.own_answered_between(ADA, 2.0, 2.9)
    assert not users.own_answered_between(ADA, 4.0, 9.0)
    assert not users.own_answered_between(BEN, 0.0, 9.0)


def test_the_latest_beginnings_are_remembered(users, monkeypatch):
    for moment in range(module.MOST_BEGINNINGS + 1):
        users.answered(ADA, float(moment))
    assert users.own_answered_between(ADA, 0.0, 1.0)
    assert not users.own_answered_between(ADA, -1.0, 0.0)


def test_answers_to_any_user_count_by_when_their_calls_began(users):
    users.answered(BEN, 5.0)
    assert users.any_answered(4.9)
    assert not users.any_answered(5.0)


@pytest.mark.parametrize(
    ("began", "answered"), [(1.5, False), (2.0, False), (2.1, True), (4.0, True), (4.1, False)]
)
def test_others_must_be_answered_in_calls_that_began_between_two_failures(users, began, answered):
    users.failed(ADA, 2.0, 2.0)
    users.answered(BEN, began)
    assert users.others_answered(ADA, 4.0, 5.0) is answered


def test_ones_own_answers_are_not_those_of_others(users):
    users.failed(ADA, 2.0, 2.0)
    users.answered(ADA, 3.0)
    users.failed(ADA, 2.5, 3.5)
    assert not users.others_answered(ADA, 9.0, 9.0)


@pytest.mark.parametrize("order", [(ADA, ADA, BEN), (BEN, ADA, ADA), (ADA, BEN, ADA)])
def test_many_answers_of_one_user_hide_none_of_another(users, order):
    for user in order:
        users.answered(user, 3.0)
    users.failed(ADA, 2.0, 2.0)
    assert users.others_answered(ADA, 9.0, 9.0)


def test_answers_may_come_in_another_order_than_their_calls_began(users):
    users.failed(ADA, 2.0, 2.0)
    users.answered(ADA, 9.0)
    users.answered(BEN, 3.0)
    users.failed(ADA, 2.0, 2.0)
    assert users.others_answered(ADA, 9.0, 9.0)


def test_answers_are_remembered_for_as_long_as_failures_in_a_row(users):
    users.failed(ADA, 0.0, 0.0)
    for tenth in range(600):
        users.answered(BEN, 0.05 + tenth / 10)
    assert users.others_answered(ADA, 0.1, 59.0)
    users.answered(BEN, 60.05)
    assert not users.others_answered(ADA, 0.1, 59.0)


def test_a_long_row_of_failures_is_judged_by_the_answers_of_its_last_minute(users):
    for moment in range(0, 10_000, 50):
        users.failed(ADA, float(moment), float(moment))
    users.answered(BEN, 9_000.0)
    assert not users.others_answered(ADA, 9_990.0, 9_990.0)
    users.answered(BEN, 9_940.0)
    assert users.others_answered(ADA, 9_990.0, 9_990.0)


def test_an_answer_ends_a_row_of_failures_and_an_isolation(users):
    users.failed(ADA, 1.0, 1.0)
    users.failed(ADA, 2.0, 2.0)
    users.isolate(ADA)
    assert (users.failed_calls(ADA, 9.0), users.is_isolated(ADA)) == (2, True)
    users.answered(ADA, 3.0)
    assert (users.failed_calls(ADA, 9.0), users.is_isolated(ADA)) == (0, False)


@pytest.mark.parametrize(
    ("subjects", "failed"),
    [
        (["albums/1", "albums/1"], 1),
        (["albums/1", "albums/2"], 2),
        (["albums/1", "albums/2", "albums/1"], 3),
        (["albums/1", None], 2),
        ([None, None], 2),
    ],
)
def test_failures_in_a_row_for_the_same_id_are_one_because_they_may_be_due_to_the_id(users, subjects, failed):
    for moment, subject in enumerate(subjects):
        users.failed(ADA, float(moment), float(moment), subject)
    assert users.failed_calls(ADA, 9.0) == failed


def test_after_an_answer_the_same_id_counts_again(users):
    users.failed(ADA, 1.0, 1.0, "albums/1")
    users.answered(ADA, 2.0)
    users.failed(ADA, 3.0, 3.0, "albums/1")
    assert users.failed_calls(ADA, 9.0) == 1


def test_failures_in_a_row_begin_anew_after_a_minute_without_one(users):
    users.failed(ADA, 1.0, 2.0)
    users.answered(BEN, 3.0)
    assert [users.failed_calls(ADA, now) for now in (61.9, 62.0)] == [1, 0]
    assert [users.others_answered(ADA, 9.0, now) for now in (61.9, 62.0)] == [True, False]
    users.failed(ADA, 62.0, 63.0)
    assert (users.failed_calls(ADA, 64.0), users.others_answered(ADA, 64.0, 64.0)) == (1, False)


def test_forgotten_failures_count_no_more(users):
    users.failed(ADA, 1.0, 1.0, "albums/1")
    users.isolate(ADA)
    users.forget_failures()
    assert (users.failed_calls(ADA, 9.0), users.is_isolated(ADA)) == (0, False)
    users.failed(ADA, 2.0, 2.0, "albums/1")
    assert users.failed_calls(ADA, 9.0) == 1


def test_users_are_bounded(users, monkeypatch):
    monkeypatch.setattr(module, "MOST_USERS", 1)
    users.failed(ADA, 1.0, 1.0)
    users.failed(BEN, 1.0, 1.0)
    assert (users.failed_calls(ADA, 9.0), users.failed_calls(BEN, 9.0)) == (0, 1)


class TestFailedWrites:
    ONE, OTHER = (ADA, "albums/1"), (ADA, "albums/2")

    def test_the_first_failure_is_remembered_for_a_minute_after_the_last(self):
        writes = FailedWrites()
        writes.failed(self.ONE, 1.0, 2.0)
        writes.failed(self.ONE, 50.0, 51.0)
        assert [writes.since(self.ONE, now) for now in (110.9, 111.0)] == [1.0, inf]
        assert writes.since(self.OTHER, 60.0) == inf

    def test_they_are_bounded_and_the_oldest_goes(self, monkeypatch):
        monkeypatch.setattr(module, "MOST_WRITES", 1)
        writes = FailedWrites()
        writes.failed(self.ONE, 1.0, 2.0)
        writes.failed(self.OTHER, 1.0, 2.0)
        assert [writes.since(write, 3.0) for write in (self.ONE, self.OTHER)] == [inf, 1.0]
