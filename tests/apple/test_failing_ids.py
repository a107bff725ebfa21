"""Ids that Apple refuses are answered from memory, and rarely asked for again."""

from math import inf

import pytest

from gateway.apple import failing_ids as module
from gateway.apple.failing_ids import FailingIds
from gateway.apple.trial import PriorFailures
from gateway.errors import AppleError
from gateway.model import Id, Kind, Partition, User, Variant

USER = User.of("ada")
ALBUMS = Partition(USER, Kind.ALBUMS)
BENS = Partition(User.of("ben"), Kind.ALBUMS)
BAD, GOOD = Id("1"), Id("2")
REFUSAL = AppleError(400, b'{"errors":[{}]}')


@pytest.fixture
def failing():
    return FailingIds()


def sort(failing, now, *, partition=ALBUMS, most_alone=4, ids=(BAD, GOOD)):
    found = failing.sort(partition, ids, now, most_alone=most_alone)
    return list(found.known), found.ask_alone, found.rest


def refused_alike(failing, now, partition=ALBUMS):
    return failing.prior(partition, [GOOD], now).refused_alike


def test_a_call_for_several_ids_failed_first_when_the_last_of_them_did_alone(failing):
    failing.suspect(ALBUMS, BAD, 1.0, 1.0)
    assert failing.prior(ALBUMS, [BAD, GOOD], 3.0) == PriorFailures()
    failing.suspect(ALBUMS, GOOD, 2.0, 2.0)
    assert failing.prior(ALBUMS, [BAD, GOOD], 3.0) == PriorFailures(first_failed=2.0)


def test_a_call_for_an_id_that_failed_before_knows_for_whom(failing):
    failing.remember(ALBUMS, BAD, REFUSAL, 1.0, 2.0)
    assert failing.prior_alone(ALBUMS, BAD, 3.0) == PriorFailures(1.0, 2.0, remembered=True)
    assert failing.prior_alone(BENS, BAD, 3.0) == PriorFailures(failed_elsewhere=2.0)
    failing.answered(ALBUMS, [GOOD], 3.0)
    assert failing.prior_alone(ALBUMS, GOOD, 3.0) == PriorFailures(variant_answered=True)


def test_an_id_that_failed_for_any_user_is_suspect(failing):
    assert not failing.suspects(ALBUMS, [BAD, GOOD], 0.0)
    failing.remember(ALBUMS, BAD, REFUSAL, 0.0, 0.0)
    assert failing.suspects(ALBUMS, [BAD, GOOD], 69.9)
    assert failing.suspects(BENS, [GOOD, BAD], 69.9)
    assert not failing.suspects(BENS, [BAD], 70.0)


def test_a_remembered_id_is_answered_from_memory_for_ten_seconds_and_then_due(failing):
    failing.remember(ALBUMS, BAD, REFUSAL, 0.0, 1.0)
    assert sort(failing, 10.9) == ([BAD], [], [GOOD])
    assert sort(failing, 11.0) == ([], [BAD], [GOOD])


def test_it_is_answered_with_an_error_of_its_own_that_apple_was_not_asked_for(failing):
    failing.remember(ALBUMS, BAD, REFUSAL, 0.0, 1.0)
    first, second = (failing.sort(ALBUMS, [BAD], 2.0, most_alone=4).known[BAD] for _ in range(2))
    assert first is not second
    assert (first.status, first.received_status, REFUSAL.received_status) == (400, None, 400)


def test_only_so_many_are_asked_for_alone_at_once(failing):
    for number in range(3):
        failing.remember(ALBUMS, Id(str(number)), REFUSAL, 0.0, 0.0)
    known, alone, _ = sort(failing, 20.0, most_alone=2, ids=[Id("0"), Id("1"), Id("2")])
    assert (known, alone) == (["2"], ["0", "1"])


def test_those_that_were_asked_for_longest_ago_are_asked_for_first(failing):
    for number in range(3):
        failing.remember(ALBUMS, Id(str(number)), REFUSAL, 0.0, 3.0 - number)
    known, alone, _ = sort(failing, 20.0, most_alone=2, ids=[Id("0"), Id("1"), Id("2")])
    assert (known, alone) == (["0"], ["2", "1"])


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
    assert sort(failing, 69.9, partition=BENS) == ([], [BAD], [GOOD])
    assert sort(failing, 69.9, partition=BENS, most_alone=0) == ([], [], [BAD, GOOD])
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
    assert [failing.prior_alone(ALBUMS, id_, 8.0).remembered for id_ in (BAD, GOOD)] == [True, False]
    assert failing.prior_alone(BENS, BAD, 8.0).failed_elsewhere == inf
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
