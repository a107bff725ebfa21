"""Whose the failures are once a call was divided: the ids', the request's, the user's or Apple's."""

from contextlib import AsyncExitStack
from math import inf

import pytest

from gateway.apple.attribution import Asked, Verdict
from gateway.apple.call import Failed
from gateway.apple.division import Division, Found, Job, Results, Settlement
from gateway.apple.failing_ids import FailingIds
from gateway.apple.trial import PriorFailures, Trial
from gateway.errors import AppleError, Cause, DeadlineExceeded
from gateway.model import Id, Kind, Partition
from gateway.waiters import Requester, Waiters
from tests.apple.builders import USER

ALBUMS = Partition(USER, Kind.ALBUMS)
BAD, WORSE, GOOD = Id("1"), Id("2"), Id("3")
NOW = 100.0
BEGAN, FAILED, ASKED = 90.0, 91.0, 92.0
OF_IDS = Verdict(Cause.ID, refused=True)
UNCOUNTED = Verdict(Cause.ID, divide=True)
OF_USER = Verdict(Cause.USER, divide=True)
OF_APPLE = Verdict(counts=True)
WHOLE = Failed(AppleError(500, b"{}"), Verdict(Cause.ID, counts=True, divide=True))


def refused(status: int = 400, code: str = "40005") -> Failed:
    return Failed(AppleError(status, b"{}", code=code), OF_IDS)


class Court:
    """Settles divisions; failures that are to be attributed for good get `cause`."""

    def __init__(self) -> None:
        self.cause = Cause.ID
        self.asked: list[tuple[Failed, Asked]] = []
        self.failing = FailingIds()
        self.counted = 0
        self.answered_at = NOW
        """When the latest call began that was answered."""
        self._settlement = Settlement(
            self._conclude, self._answered_from, self.failing, lambda: NOW, self._count
        )

    def settle(self, division: Division, found: Found) -> Results:
        job = Job(ALBUMS, Waiters(Requester()), NOW + 10.0)
        return self._settlement.settle(job, division, found)

    def known(self, *ids: Id) -> list[Id]:
        """Those that are answered from memory now."""
        return list(self.failing.sort(ALBUMS, ids, NOW, most_alone=4, largest=100).known)

    def _count(self) -> None:
        self.counted += 1

    def _answered_from(self, _: Trial, moment: float) -> bool:
        return self.answered_at >= moment

    def _conclude(self, _: Trial, failed: Failed, asked: Asked) -> Failed:
        self.asked.append((failed, asked))
        return Failed(failed.error, Verdict(self.cause))


@pytest.fixture
def court():
    return Court()


def division(*alone: Id, answered: bool = False) -> Division:
    trial = Trial(USER.key, BEGAN, prior=PriorFailures(first_failed=FAILED))
    made = Division(trial, [GOOD], 100, WHOLE, AsyncExitStack())
    made.trial.answered = answered
    made.alone |= dict.fromkeys(alone, ASKED)
    return made


class TestWhereAFragmentWasAnswered:
    def test_what_failed_alone_is_remembered_and_the_rest_comes_back(self, court):
        failed = refused()
        results = court.settle(division(BAD, answered=True), {BAD: failed, GOOD: None})
        assert results == {BAD: failed.error, GOOD: None}
        assert (court.known(BAD, GOOD), court.counted) == ([BAD], 1)
        assert court.asked == [(failed, Asked(ids=1, read=True, idempotent=True, last=True))]

    def test_what_failed_in_company_is_only_suspected(self, court):
        failed = refused()
        court.settle(division(answered=True), {BAD: failed, WORSE: failed, GOOD: None})
        assert court.known(BAD, WORSE) == []
        assert court.failing.since(ALBUMS, BAD, NOW) == FAILED
        assert (len(court.asked), court.counted) == (1, 1)

    def test_what_is_not_the_ids_in_the_end_is_not_held_against_it(self, court):
        court.cause = Cause.APPLE
        court.settle(division(BAD, answered=True), {BAD: refused(), GOOD: None})
        assert (court.known(BAD), court.counted) == ([], 0)
        assert court.failing.since(ALBUMS, BAD, NOW) == inf

    def test_an_answer_to_another_call_of_the_user_is_as_good(self, court):
        court.settle(division(BAD), {BAD: Failed(AppleError(500, b"{}"), UNCOUNTED)})
        assert court.known(BAD) == [BAD]

    def test_what_failed_alone_is_only_suspected_if_nothing_was_answered_since(self, court):
        court.answered_at = FAILED - 0.1
        court.settle(division(BAD, answered=True), {BAD: Failed(AppleError(500, b"{}"), UNCOUNTED)})
        assert court.known(BAD) == []
        assert court.failing.since(ALBUMS, BAD, NOW) == FAILED

    def test_what_failed_alone_again_is_remembered_if_anything_was_answered_since_the_first_time(self, court):
        court.answered_at = ASKED - 0.1
        for _ in range(2):
            court.settle(division(BAD, answered=True), {BAD: Failed(AppleError(500, b"{}"), UNCOUNTED)})
        assert court.known(BAD) == [BAD]

    def test_a_refusal_needs_no_other_answer(self, court):
        court.answered_at = FAILED - 0.1
        court.settle(division(BAD, answered=True), {BAD: refused()})
        assert court.known(BAD) == [BAD]


class TestWhereNoFragmentWasAnswered:
    def test_refusals_that_are_all_alike_are_the_requests(self, court):
        failures = {BAD: refused(), WORSE: refused()}
        court.settle(division(BAD, WORSE), {**failures})
        assert [failed.error.cause for failed in failures.values()] == [Cause.REQUEST] * 2
        assert not any(failed.error.stale_allowed for failed in failures.values())
        assert court.failing.prior(ALBUMS, [BAD], NOW).refused_alike
        assert (court.known(BAD, WORSE), court.counted) == ([], 0)

    def test_refusals_that_are_all_alike_are_the_ids_if_the_variant_was_answered_lately(self, court):
        court.failing.answered(ALBUMS, [GOOD], BEGAN)
        court.settle(division(BAD, WORSE), {BAD: refused(), WORSE: refused()})
        assert (court.known(BAD, WORSE), court.counted) == ([BAD, WORSE], 2)

    def test_refusals_that_differ_are_the_ids(self, court):
        court.settle(division(BAD, WORSE), {BAD: refused(), WORSE: refused(code="40006")})
        assert (court.known(BAD, WORSE), court.counted) == ([BAD, WORSE], 2)
        assert not court.failing.prior(ALBUMS, [BAD], NOW).refused_alike

    @pytest.mark.parametrize("cause", [Cause.APPLE, Cause.USER])
    def test_failures_are_one_failure_of_the_users_or_apples(self, court, cause):
        court.cause = cause
        failures = {id_: Failed(AppleError(500, b"{}"), OF_APPLE) for id_ in (BAD, WORSE)}
        court.settle(division(BAD, WORSE), {**failures})
        assert court.asked == [(WHOLE, Asked(read=True, idempotent=True, last=True))]
        assert [failed.error.cause for failed in failures.values()] == [cause] * 2
        assert court.known(BAD, WORSE) == []
        assert court.failing.since(ALBUMS, BAD, NOW) == FAILED

    def test_an_id_that_failed_in_company_only_is_not_suspected(self, court):
        court.cause = Cause.APPLE
        court.settle(division(BAD), {id_: Failed(AppleError(500, b"{}"), OF_APPLE) for id_ in (BAD, WORSE)})
        assert [court.failing.since(ALBUMS, id_, NOW) for id_ in (BAD, WORSE)] == [FAILED, inf]

    def test_what_was_not_apples_answer_keeps_its_own_cause(self, court):
        late = Failed(DeadlineExceeded("late"), Verdict(Cause.DEADLINE), abandoned=True)
        court.cause = Cause.USER
        court.settle(division(BAD), {BAD: Failed(AppleError(500, b"{}"), OF_APPLE), WORSE: late})
        assert late.error.cause is Cause.DEADLINE
        assert court.failing.since(ALBUMS, WORSE, NOW) == inf

    @pytest.mark.parametrize(
        ("failed", "answered", "in_vain"),
        [
            (Failed(AppleError(500, b"{}"), OF_APPLE), False, True),
            (Failed(AppleError(500, b"{}"), OF_APPLE), True, False),
            (refused(), False, False),
        ],
    )
    def test_a_call_is_divided_in_vain_if_apple_fails_for_all_of_it(self, court, failed, answered, in_vain):
        settled = division(BAD, answered=answered)
        court.settle(settled, dict.fromkeys([BAD, WORSE], failed))
        assert settled.trial.divided_in_vain is in_vain


class TestHopeless:
    @pytest.mark.parametrize(
        ("verdict", "answered", "hopeless"),
        [
            (OF_APPLE, False, True),
            (OF_APPLE, True, False),
            (OF_IDS, False, False),
            (UNCOUNTED, False, True),
            (UNCOUNTED, True, False),
            (OF_USER, False, True),
            (OF_USER, True, False),
        ],
    )
    def test_a_division_ends_where_apple_answers_nothing(self, verdict, answered, hopeless):
        made = division(answered=answered)
        assert made.hopeless(Failed(AppleError(500, b"{}"), verdict)) is hopeless


class TestSample:
    HALVES = ([Id("1"), Id("2"), Id("3")], [Id("4"), Id("5")])
    FAILED = Failed(AppleError(500, b"{}"), Verdict(counts=True, divide=True))
    ALONE = Failed(AppleError(500, b"{}"), OF_APPLE)

    def sample(self, made: Division, *, answers=(FAILED, FAILED), fragments=HALVES, chance=0.0) -> list[Id]:
        return made.sample(fragments, answers, lambda: chance)

    @pytest.mark.parametrize(("chance", "chosen"), [(0.0, ["1", "2", "3"]), (0.999, ["5", "4", "3"])])
    def test_three_ids_are_chosen_at_random_if_no_half_is_answered(self, chance, chosen):
        assert self.sample(division(), chance=chance) == chosen

    def test_ids_that_failed_by_themselves_are_not_chosen(self):
        assert self.sample(division(), answers=(self.FAILED, self.ALONE)) == ["1", "2", "3"]
        assert self.sample(division(), answers=(self.ALONE, self.ALONE)) == []

    def test_one_id_is_chosen_for_an_isolated_user(self):
        isolated = Failed(AppleError(500, b"{}"), OF_USER)
        assert self.sample(division(), answers=(isolated, isolated)) == ["1"]

    def test_a_division_has_one_sample(self):
        made = division()
        assert self.sample(made)
        assert not self.sample(made)

    @pytest.mark.parametrize(
        "half",
        [
            {},
            Failed(DeadlineExceeded("late"), Verdict(), abandoned=True),
        ],
    )
    def test_there_is_none_if_the_division_goes_on_or_calls_are_no_longer_made(self, half):
        assert not self.sample(division(), answers=(self.FAILED, half))

    def test_a_refused_half_is_left_out(self):
        refused_half = Failed(AppleError(400, b"{}"), Verdict(Cause.ID, refused=True, divide=True))
        made = division()
        assert self.sample(made, answers=(refused_half, refused_half)) == []
        assert self.sample(made, answers=(self.FAILED, refused_half)) == ["1", "2", "3"]
        assert self.sample(division(answered=True), answers=(self.FAILED, refused_half)) == []
