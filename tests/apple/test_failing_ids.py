"""Ids that Apple refuses or fails for are answered from memory, and rarely asked for again."""

from math import inf

import pytest

from gateway.apple import failing_ids as module
from gateway.apple.failing_ids import FailingIds
from gateway.apple.trial import PriorFailures
from gateway.errors import AppleError
from gateway.model import Id, Kind, Partition, User, Variant
from tests.apple.fetches import ids

USER = User.of("ada")
ALBUMS = Partition(USER, Kind.ALBUMS)
BENS = Partition(User.of("ben"), Kind.ALBUMS)
BAD, GOOD = Id("1"), Id("2")
REFUSAL = AppleError(400, b'{"errors":[{}]}')


@pytest.fixture
def failing():
    return FailingIds()


def sort(failing, now, *, partition=ALBUMS, most_alone=4, largest=100, ids=(BAD, GOOD)):
    found = failing.sort(partition, ids, now, most_alone=most_alone, largest=largest)
    return list(found.known), found.again, found.rest


def refused_alike(failing, now, partition=ALBUMS):
    return failing.prior(partition, [GOOD], now).refused_alike


def test_a_call_for_several_ids_failed_first_when_the_last_of_them_did_alone(failing):
    failing.suspect(ALBUMS, BAD, 1.0, 1.0)
    assert failing.prior(ALBUMS, [BAD, GOOD], 3.0) == PriorFailures()
    failing.suspect(ALBUMS, GOOD, 2.0, 2.0)
    assert failing.prior(ALBUMS, [BAD, GOOD], 3.0) == PriorFailures(first_failed=2.0)


def test_a_call_for_an_id_that_failed_before_has_the_failures_of_its_own_user_and_of_others(failing):
    failing.remember(ALBUMS, BAD, REFUSAL, 1.0, 2.0)
    assert failing.prior_of_failing(ALBUMS, [BAD], 3.0) == PriorFailures(1.0, 2.0, remembered=True)
    assert failing.prior_of_failing(BENS, [BAD], 3.0) == PriorFailures(failed_elsewhere=2.0)
    failing.answered(ALBUMS, [GOOD], 3.0)
    assert failing.prior_of_failing(ALBUMS, [GOOD], 3.0) == PriorFailures(variant_answered=True)


def test_an_id_that_failed_for_any_user_is_suspect(failing):
    assert not failing.suspects(ALBUMS, [BAD, GOOD], 0.0)
    failing.remember(ALBUMS, BAD, REFUSAL, 0.0, 0.0)
    assert failing.suspects(ALBUMS, [BAD, GOOD], 69.9)
    assert failing.suspects(BENS, [GOOD, BAD], 69.9)
    assert not failing.suspects(BENS, [BAD], 70.0)


def test_a_remembered_id_is_answered_from_memory_for_ten_seconds_and_then_due(failing):
    failing.remember(ALBUMS, BAD, REFUSAL, 0.0, 1.0)
    assert sort(failing, 10.9) == ([BAD], [], [GOOD])
    assert sort(failing, 11.0) == ([], [[BAD]], [GOOD])


def test_it_is_answered_with_an_error_of_its_own_that_apple_was_not_asked_for(failing):
    failing.remember(ALBUMS, BAD, REFUSAL, 0.0, 1.0)
    first, second = (failing.sort(ALBUMS, [BAD], 2.0, most_alone=4, largest=100).known[BAD] for _ in range(2))
    assert first is not second
    assert (first.status, first.received_status, REFUSAL.received_status) == (400, None, 400)


def remember(failing, count, now=0.0):
    wanted = ids(count)
    for id_ in wanted:
        failing.remember(ALBUMS, id_, REFUSAL, now, now)
    return wanted


@pytest.mark.parametrize(
    ("announced", "after_two_seconds", "after_another_failure"),
    [(3600.0, 8.0, 10.0), (2.0, 2.0, 2.0), (None, None, None)],
)
def test_an_answer_from_memory_says_to_retry_when_apple_is_asked_again_at_the_latest(
    failing, announced, after_two_seconds, after_another_failure
):
    failing.remember(ALBUMS, BAD, AppleError(503, b"", retry_after=announced), 0.0, 0.0)
    assert failing.answer(ALBUMS, BAD, 2.0).retry_after == after_two_seconds
    assert failing.failed_together(ALBUMS, [BAD], 22.0)[BAD].retry_after == after_another_failure


def test_only_so_many_are_asked_for_alone_at_once_and_the_others_in_as_many_calls_again(failing):
    wanted = remember(failing, 11)
    known, again, _ = sort(failing, 20.0, most_alone=2, ids=wanted)
    assert (known, again) == ([], [["0"], ["1"], ["2", "3", "4", "5", "6"], ["7", "8", "9", "10"]])
    known, again, _ = sort(failing, 20.0, most_alone=2, largest=3, ids=wanted)
    assert (known, again) == (["8", "9", "10"], [["0"], ["1"], ["2", "3", "4"], ["5", "6", "7"]])


def test_few_others_share_a_call(failing):
    assert sort(failing, 20.0, ids=remember(failing, 6))[1] == [["0"], ["1"], ["2"], ["3"], ["4", "5"]]


def test_those_that_were_asked_for_alone_longest_ago_are_asked_for_first(failing):
    for number in range(3):
        failing.remember(ALBUMS, Id(str(number)), REFUSAL, 0.0, 3.0 - number)
    assert sort(failing, 20.0, most_alone=1, ids=ids(3))[1] == [["2"], ["1", "0"]]
    failing.failed_together(ALBUMS, [Id("1"), Id("0")], 20.0)
    failing.remember(ALBUMS, Id("2"), REFUSAL, 20.0, 20.0)
    assert sort(failing, 30.0, most_alone=1, ids=ids(3))[1] == [["1"], ["0", "2"]]


def test_ids_that_failed_together_are_answered_from_memory_each_with_its_own_failure(failing):
    failing.remember(ALBUMS, BAD, AppleError(404, b""), 0.0, 0.0)
    failing.remember(ALBUMS, GOOD, REFUSAL, 0.0, 0.0)
    known = failing.failed_together(ALBUMS, [BAD, GOOD, Id("3")], 20.0)
    assert {id_: (failure.status, failure.remembered) for id_, failure in known.items()} == {
        BAD: (404, True),
        GOOD: (400, True),
    }
    assert sort(failing, 29.9) == ([BAD, GOOD], [], [])
    assert sort(failing, 30.0, most_alone=2) == ([], [[BAD], [GOOD]], [])


def test_ids_that_are_asked_for_together_are_remembered_if_each_is(failing):
    failing.remember(ALBUMS, BAD, REFUSAL, 1.0, 2.0)
    assert not failing.prior_of_failing(ALBUMS, [BAD, GOOD], 3.0).remembered
    failing.remember(ALBUMS, GOOD, REFUSAL, 1.0, 2.0)
    assert failing.prior_of_failing(ALBUMS, [BAD, GOOD], 3.0).remembered


@pytest.mark.parametrize(
    "other",
    [
        Partition(USER, Kind.SONGS),
        Partition(USER, Kind.ALBUMS, Variant("l=de")),
    ],
)
def test_other_types_and_variants_are_not_concerned(failing, other):
    failing.remember(ALBUMS, BAD, REFUSAL, 0.0, 0.0)
    assert sort(failing, 1.0, partition=other) == ([], [], [BAD, GOOD])


def test_other_users_ask_for_it_by_itself_for_a_while(failing):
    failing.remember(ALBUMS, BAD, REFUSAL, 0.0, 0.0)
    assert sort(failing, 69.9, partition=BENS) == ([], [[BAD]], [GOOD])
    failing.remember(ALBUMS, GOOD, REFUSAL, 0.0, 0.0)
    assert sort(failing, 69.9, partition=BENS, most_alone=1) == ([], [[BAD]], [GOOD])
    assert failing.answer(BENS, BAD, 1.0) is None
    assert sort(failing, 70.0, partition=BENS) == ([], [], [BAD, GOOD])


def test_an_answer_for_any_user_shows_that_it_is_one_users_failure(failing):
    failing.remember(ALBUMS, BAD, REFUSAL, 0.0, 0.0)
    failing.answered(BENS, [BAD], 0.5)
    assert sort(failing, 1.0, partition=BENS) == ([], [], [BAD, GOOD])
    assert sort(failing, 1.0) == ([BAD], [], [GOOD])


def test_an_answer_clears_it(failing):
    failing.remember(ALBUMS, BAD, REFUSAL, 0.0, 0.0)
    failing.answered(ALBUMS, [GOOD], 0.5)
    assert sort(failing, 1.0)[0] == [BAD]
    failing.answered(ALBUMS, [BAD], 1.5)
    assert sort(failing, 1.0) == ([], [], [BAD, GOOD])


def test_a_suspected_id_is_asked_for_as_ever_and_its_first_failure_is_dated(failing):
    failing.suspect(ALBUMS, BAD, 5.0, 6.0)
    failing.suspect(ALBUMS, BAD, 20.0, 21.0)
    assert sort(failing, 22.0) == ([], [], [BAD, GOOD])
    assert failing.since(ALBUMS, BAD, 22.0) == 5.0
    assert failing.since(ALBUMS, GOOD, 22.0) == inf
    assert failing.since(ALBUMS, BAD, 81.0) == inf


def test_an_outage_explains_suspicions_and_failures_of_other_users_but_no_id_found_to_be_at_fault(failing):
    failing.suspect(ALBUMS, GOOD, 5.0, 6.0)
    failing.remember(ALBUMS, BAD, REFUSAL, 5.0, 6.0)
    failing.forget_failures(7.0)
    assert [failing.since(ALBUMS, id_, 8.0) for id_ in (BAD, GOOD)] == [5.0, inf]
    assert [failing.prior_of_failing(ALBUMS, [id_], 8.0).remembered for id_ in (BAD, GOOD)] == [True, False]
    assert failing.prior_of_failing(BENS, [BAD], 8.0).failed_elsewhere == inf
    failing.suspect(ALBUMS, GOOD, 9.0, 10.0)
    assert failing.since(ALBUMS, GOOD, 11.0) == 9.0


def test_a_variant_refused_alike_is_so_for_ten_minutes(failing):
    assert failing.note_all_refused(ALBUMS, 0.0)
    assert refused_alike(failing, 599.9)
    assert not refused_alike(failing, 600.0)
    assert not refused_alike(failing, 1.0, Partition(USER, Kind.SONGS))


def test_a_variant_that_is_answered_is_not_refused_as_such_for_ten_minutes(failing):
    failing.note_all_refused(ALBUMS, 0.0)
    failing.answered(ALBUMS, [GOOD], 1.0)
    assert not refused_alike(failing, 2.0)
    assert not failing.note_all_refused(ALBUMS, 600.9)
    assert not refused_alike(failing, 600.9)
    assert failing.note_all_refused(ALBUMS, 601.0)


def test_everything_is_bounded_and_the_oldest_goes(failing, monkeypatch):
    monkeypatch.setattr(module, "MOST_IDS", 1)
    monkeypatch.setattr(module, "MOST_KEYS", 1)
    monkeypatch.setattr(module, "MOST_SHARED", 1)
    songs = Partition(USER, Kind.SONGS)
    failing.remember(ALBUMS, BAD, REFUSAL, 0.0, 0.0)
    failing.remember(ALBUMS, GOOD, REFUSAL, 0.0, 0.0)
    assert sort(failing, 1.0) == ([GOOD], [], [BAD])
    failing.remember(songs, BAD, REFUSAL, 0.0, 0.0)
    assert sort(failing, 1.0) == ([], [], [BAD, GOOD])
    failing.note_all_refused(ALBUMS, 0.0)
    failing.note_all_refused(songs, 0.0)
    assert (refused_alike(failing, 1.0), refused_alike(failing, 1.0, songs)) == (False, True)
