"""What users' calls have shown lately."""

from math import inf

import pytest

from gateway.apple import user_records as module
from gateway.apple.user_records import FailedWrites, UserRecords

ADA, BEN = b"a" * 16, b"b" * 16
ALBUMS, SONGS = "/v1/me/ratings/albums", "/v1/me/ratings/songs"


@pytest.fixture
def users():
    return UserRecords()


def test_a_user_who_never_asked_has_no_evidence(users):
    assert not users.own_answered(ADA, 0.0)
    assert not users.others_answered(ADA, ALBUMS, 0.0, 9.0)
    assert not users.is_isolated(ADA)
    assert users.failed_calls(ADA, 9.0) == 0


def test_an_answer_counts_by_when_its_call_began(users):
    users.answered(ADA, ALBUMS, 5.0)
    assert users.own_answered(ADA, 4.9)
    assert not users.own_answered(ADA, 5.0)


def test_an_answer_between_two_failures_is_of_a_call_that_began_between_them(users):
    for began in (2.0, 3.0, 4.0):
        users.answered(ADA, ALBUMS, began)
    assert users.own_answered_between(ADA, 2.0, 3.0)
    assert not users.own_answered_between(ADA, 2.0, 2.9)
    assert not users.own_answered_between(ADA, 4.0, 9.0)
    assert not users.own_answered_between(BEN, 0.0, 9.0)


def test_the_latest_beginnings_are_remembered(users, monkeypatch):
    for moment in range(module.MOST_BEGINNINGS + 1):
        users.answered(ADA, ALBUMS, float(moment))
    assert users.own_answered_between(ADA, 0.0, 1.0)
    assert not users.own_answered_between(ADA, -1.0, 0.0)


def test_answers_to_any_user_count_by_when_their_calls_began(users):
    users.answered(BEN, ALBUMS, 5.0)
    assert users.any_answered(4.9)
    assert not users.any_answered(5.0)


@pytest.mark.parametrize(
    ("began", "answered"), [(1.5, False), (2.0, False), (2.1, True), (4.0, True), (4.1, False)]
)
def test_others_are_answered_between_two_moments_if_their_calls_began_there(users, began, answered):
    users.answered(BEN, ALBUMS, began)
    assert users.others_answered(ADA, ALBUMS, 2.0, 4.0) is answered


def test_ones_own_answers_and_those_for_another_type_are_not_those_of_others(users):
    users.answered(ADA, ALBUMS, 3.0)
    users.answered(BEN, SONGS, 3.0)
    assert not users.others_answered(ADA, ALBUMS, 2.0, 9.0)


@pytest.mark.parametrize("order", [(ADA, ADA, BEN), (BEN, ADA, ADA), (ADA, BEN, ADA)])
def test_many_answers_of_one_user_hide_none_of_another(users, order):
    for user in order:
        users.answered(user, ALBUMS, 3.0)
    assert users.others_answered(ADA, ALBUMS, 2.0, 9.0)


def test_answers_may_come_in_another_order_than_their_calls_began(users):
    users.answered(ADA, ALBUMS, 9.0)
    users.answered(BEN, ALBUMS, 3.0)
    assert users.others_answered(ADA, ALBUMS, 2.0, 9.0)


def test_answers_of_the_last_minute_count(users):
    users.answered(BEN, ALBUMS, 9_000.0)
    assert not users.others_answered(ADA, ALBUMS, 100.0, 9_061.0)
    assert users.others_answered(ADA, ALBUMS, 100.0, 9_060.0)


def test_answers_that_are_remembered_are_bounded(users, monkeypatch):
    monkeypatch.setattr(module, "MOST_SLICES", 10)
    for tenth in range(10):
        users.answered(BEN, ALBUMS, 1.05 + tenth / 10)
    assert users.others_answered(ADA, ALBUMS, 1.0, 1.1)
    users.answered(BEN, ALBUMS, 2.05)
    assert not users.others_answered(ADA, ALBUMS, 1.0, 1.1)


def failed(users, *moments: float, answers: bool = True) -> None:
    """Calls of Ada's that failed, with an answer to Ben's between each two of them."""
    for moment in moments:
        users.failed(ADA, ALBUMS, (moment, moment), moment)
        if answers:
            users.answered(BEN, ALBUMS, moment + 0.01)


def test_failures_in_a_row_count_if_another_user_was_answered_between_them(users):
    failed(users, 1.0, 2.0, 3.0)
    assert users.failed_calls(ADA, 9.0) == 3


def test_failures_without_an_answer_between_them_are_one_because_they_may_be_due_to_an_outage(users):
    failed(users, 1.0, 2.0, 3.0, answers=False)
    assert users.failed_calls(ADA, 9.0) == 1


def test_failures_that_do_not_count_go_on_with_the_row(users):
    failed(users, 1.0, 40.0, answers=False)
    users.answered(BEN, ALBUMS, 50.0)
    failed(users, 80.0)
    assert users.failed_calls(ADA, 81.0) == 2


def test_an_answer_ends_a_row_of_failures_and_an_isolation(users):
    failed(users, 1.0, 2.0)
    users.isolate(ADA)
    assert (users.failed_calls(ADA, 9.0), users.is_isolated(ADA)) == (2, True)
    users.answered(ADA, ALBUMS, 3.0)
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
        users.failed(ADA, ALBUMS, (moment, moment), float(moment), subject)
        users.answered(BEN, ALBUMS, moment + 0.5)
    assert users.failed_calls(ADA, 9.0) == failed


def test_after_an_answer_the_same_id_counts_again(users):
    users.failed(ADA, ALBUMS, (1.0, 1.0), 1.0, "albums/1")
    users.answered(ADA, ALBUMS, 2.0)
    users.failed(ADA, ALBUMS, (3.0, 3.0), 3.0, "albums/1")
    assert users.failed_calls(ADA, 9.0) == 1


def test_failures_in_a_row_begin_anew_after_a_minute_without_one(users):
    failed(users, 2.0)
    assert [users.failed_calls(ADA, now) for now in (61.9, 62.0)] == [1, 0]
    failed(users, 63.0)
    assert users.failed_calls(ADA, 64.0) == 1


def test_forgotten_failures_count_no_more(users):
    users.failed(ADA, ALBUMS, (1.0, 1.0), 1.0, "albums/1")
    users.isolate(ADA)
    users.forget_failures()
    assert (users.failed_calls(ADA, 9.0), users.is_isolated(ADA)) == (0, False)
    users.failed(ADA, ALBUMS, (2.0, 2.0), 2.0, "albums/1")
    assert users.failed_calls(ADA, 9.0) == 1


def test_users_are_bounded(users, monkeypatch):
    monkeypatch.setattr(module, "MOST_USERS", 1)
    users.failed(ADA, ALBUMS, (1.0, 1.0), 1.0)
    users.failed(BEN, ALBUMS, (1.0, 1.0), 1.0)
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
