"""What follows from how a call ended: for the breaker, the limit, the quarantine and the developer token."""

import msgspec
import pytest

from gateway.apple.attribution import Asked, Retry, Verdict
from gateway.apple.trial import PriorFailures, Sent, Trial
from gateway.breaker import State
from gateway.errors import AppleError, Cause, Unreachable
from gateway.model import User
from gateway.waiters import Requester, Waiters
from tests.apple.builders import USER, FakeTransport, Workshop

BEN = User.of("ben's token")
READ = Asked(ids=1, read=True, idempotent=True)
LAST = Asked(ids=1, read=True, idempotent=True, last=True)
FEW = Asked(ids=3, read=True, idempotent=True)

FAULT = 500
FAILURES = 20
"""So many open the breaker."""
REFUSED_USER = b'{"errors":[{"code":"40300"}]}'


@pytest.fixture
def transport():
    return FakeTransport()


@pytest.fixture
def shop(transport, clock):
    return Workshop(transport, clock, min_calls=FAILURES)


def trial(shop: Workshop, user: User = USER, subject: str | None = None) -> Trial:
    return Trial(user.key, shop.clock.monotonic(), subject=subject)


def sent(shop: Workshop, asked: Asked = READ, of: Trial | None = None) -> Sent:
    """A try that goes out now; a moment passes, so that no two begin together."""
    shop.clock.move(0.01)
    admission = shop.breaker.admit(shop.clock.monotonic())
    assert admission is not None
    token = shop.tokens.current().text
    return Sent(of or trial(shop), asked, admission, token, shop.clock.monotonic())


def apple_error(status: int, body: bytes = b'{"errors":[{}]}', code: str | None = None) -> AppleError:
    return AppleError(status, body, code=code)


def answered(shop: Workshop, user: User = USER) -> None:
    shop.reactions.answered(sent(shop, of=trial(shop, user)))


def open_breaker(shop: Workshop) -> None:
    while shop.breaker.state is State.CLOSED:
        shop.reactions.failed(sent(shop), apple_error(FAULT))


def fail_for_good(
    shop: Workshop, user: User = USER, subject: str | None = None, of: Trial | None = None
) -> Verdict:
    """One call of one try that Apple answers 500."""
    made, error = sent(shop, READ, of or trial(shop, user, subject)), apple_error(FAULT)
    return shop.reactions.conclude(made.trial, error, LAST, shop.reactions.failed(made, error))


def fail_twice(shop: Workshop) -> None:
    """Two calls of the user fail, with an answer to another user after each."""
    for _ in range(2):
        fail_for_good(shop)
        answered(shop, BEN)


class TestAnswered:
    def test_a_sound_answer_closes_a_half_open_breaker(self, shop, clock):
        open_breaker(shop)
        clock.move(5.0)
        answered(shop)
        assert shop.breaker.state is State.CLOSED

    async def test_it_raises_the_limit(self, shop, clock):
        shop.limiter.throttled_elsewhere()
        assert shop.sample("upstream_concurrency_limit") == 2.0
        for _ in range(3):
            answered(shop)
        async with shop.limiter.slot(USER.key, Waiters(Requester()), clock.monotonic() + 1.0):
            assert shop.sample("upstream_concurrency_limit") == 3.0

    def test_it_shows_that_the_developer_token_is_good(self, shop):
        shop.tokens.refuse(shop.tokens.current().text)
        answered(shop)
        assert not shop.tokens.refused
        assert shop.token_changes[-1] == "accepted"

    def test_the_trial_records_that_a_fragment_was_answered(self, shop):
        made = sent(shop)
        shop.reactions.answered(made)
        assert made.trial.answered


def test_a_probe_that_is_cancelled_makes_room_for_another(shop, clock):
    open_breaker(shop)
    clock.move(5.0)
    probe = sent(shop)
    assert shop.breaker.admit(clock.monotonic()) is None
    shop.reactions.cancelled(probe)
    assert shop.breaker.admit(clock.monotonic()) is not None


class TestFailed:
    @pytest.mark.parametrize(("status", "opens"), [(FAULT, True), (400, False)])
    def test_failures_that_count_open_the_breaker(self, shop, status, opens):
        for _ in range(FAILURES):
            shop.reactions.failed(sent(shop), apple_error(status))
        assert shop.breaker.state is (State.OPEN if opens else State.CLOSED)

    @pytest.mark.parametrize("failure", [429, 400])
    def test_what_is_not_apples_is_no_probe_of_a_half_open_breaker(self, shop, clock, failure):
        open_breaker(shop)
        clock.move(5.0)
        shop.reactions.failed(sent(shop), apple_error(failure))
        assert shop.breaker.state is State.HALF_OPEN
        assert shop.breaker.admit(clock.monotonic()) is not None

    def test_a_429_lowers_the_limit(self, shop):
        shop.reactions.failed(sent(shop), apple_error(429))
        assert shop.sample("upstream_throttled_total") == 1.0
        assert shop.sample("upstream_concurrency_limit") == 2.0

    @pytest.mark.parametrize(
        ("error", "accepted"),
        [(apple_error(400), True), (apple_error(400, b""), False), (apple_error(FAULT), False)],
    )
    def test_an_error_of_apples_own_about_the_request_shows_that_the_token_is_good(
        self, shop, error, accepted
    ):
        shop.tokens.refuse(shop.tokens.current().text)
        shop.reactions.failed(sent(shop), error)
        assert shop.tokens.refused is not accepted

    def test_a_refused_user_is_quarantined_and_counted(self, shop, clock):
        error = apple_error(403, REFUSED_USER, "40300")
        verdict = shop.reactions.failed(sent(shop), error)
        assert (verdict.cause, error.cause, error.stale_allowed) == (Cause.USER, Cause.USER, False)
        assert shop.quarantine.is_refused(USER.key, clock.monotonic())
        assert shop.sample("upstream_isolated_total", what="user") == 1.0

    def test_a_kept_connection_that_broke_is_counted(self, shop):
        error = Unreachable("gone", proxy_error="connection_terminated", sent=True, kept=True)
        assert shop.reactions.failed(sent(shop), error).retry is Retry.AT_ONCE
        assert shop.sample("upstream_isolated_total", what="connection") == 1.0

    def test_a_divided_call_is_attributed_only_after_its_fragments(self, shop):
        error = apple_error(400)
        assert shop.reactions.failed(sent(shop, FEW), error).divide
        assert error.cause is Cause.APPLE
        assert shop.sample("upstream_isolated_total", what="id") == 0.0


class TestCheckToken:
    async def check(self, shop: Workshop) -> Verdict:
        made, error = sent(shop), apple_error(401, b"")
        verdict = shop.reactions.failed(made, error)
        assert verdict.retry is Retry.RENEWED
        return await shop.reactions.check_token(made, error)

    async def test_a_token_that_apple_refuses_elsewhere_too_is_renewed(self, shop):
        before = shop.tokens.current().text
        verdict = await self.check(shop)
        assert (verdict.cause, verdict.retry) == (Cause.DEVELOPER_TOKEN, Retry.RENEWED)
        assert shop.tokens.current().text != before

    async def test_it_is_renewed_once_in_30_seconds(self, shop):
        await self.check(shop)
        assert (await self.check(shop)).retry is Retry.NEVER

    async def test_a_token_that_apple_takes_elsewhere_leaves_the_user(self, shop, transport, clock):
        transport.test_status = 200
        before = shop.tokens.current().text
        verdict = await self.check(shop)
        assert (verdict.cause, verdict.quarantine) == (Cause.USER, True)
        assert shop.tokens.current().text == before
        assert shop.quarantine.is_refused(USER.key, clock.monotonic())

    async def test_a_401_without_a_verdict_is_the_developer_tokens(self, shop, transport):
        transport.test_status = 503
        assert (await self.check(shop)).cause is Cause.DEVELOPER_TOKEN

    @pytest.mark.parametrize(("status", "lifted"), [(401, True), (503, False)])
    async def test_a_token_that_proves_refused_lifts_quarantines_from_401s(
        self, shop, transport, clock, status, lifted
    ):
        shop.quarantine.refuse(BEN.key, apple_error(401, b""), clock.monotonic())
        transport.test_status = status
        await self.check(shop)
        assert shop.quarantine.is_refused(BEN.key, clock.monotonic()) is not lifted


class TestConclude:
    def test_without_evidence_it_stays_apples(self, shop):
        verdict = fail_for_good(shop)
        assert (verdict.cause, verdict.counts) == (Cause.APPLE, True)

    def test_one_that_fails_while_others_are_answered_is_its_ids_and_counts_no_more(self, shop):
        made, error = sent(shop), apple_error(FAULT)
        shop.reactions.failed(made, error)
        answered(shop, BEN)
        verdict = shop.reactions.failed(sent(shop, READ, made.trial), error)
        assert shop.reactions.conclude(made.trial, error, LAST, verdict).cause is Cause.ID
        assert error.cause is Cause.ID
        assert shop.breaker.causes["500"] == 0
        assert shop.sample("upstream_isolated_total", what="id") == 1.0

    def test_a_user_who_fails_three_times_while_others_are_answered_is_isolated(self, shop, clock):
        fail_twice(shop)
        verdict = fail_for_good(shop)
        assert (verdict.cause, verdict.isolate, verdict.stale_allowed) == (Cause.USER, True, True)
        refusal = shop.quarantine.answer(USER.key, clock.monotonic())
        assert refusal is not None
        assert refusal.status == FAULT
        assert not shop.quarantine.is_refused(USER.key, clock.monotonic())

    def test_an_answer_to_a_call_from_before_the_outage_or_after_it_isolates_no_user(self, shop, clock):
        write = Asked(idempotent=True, last=True)
        calls = [Trial(USER.key, clock.monotonic(), subject=subject, write=True) for subject in "12"]
        first, before = sent(shop, write, calls[0]), sent(shop, write, Trial(BEN.key, 0.0, write=True))
        shop.reactions.answered(before)
        verdicts = []
        for made in (first, sent(shop, write, calls[1])):
            shop.clock.move(0.4)
            error = apple_error(FAULT)
            shop.reactions.answered(sent(shop, write, Trial(BEN.key, 0.0, write=True)))
            verdict = shop.reactions.failed(made, error)
            verdicts.append(shop.reactions.conclude(made.trial, error, made.asked, verdict))
        assert [verdict.cause for verdict in verdicts] == [Cause.APPLE, Cause.APPLE]

    def test_two_short_outages_isolate_no_user(self, shop, clock):
        for _ in range(2):
            verdicts = [fail_for_good(shop) for _ in range(3)]
            clock.move(5.0)
            answered(shop, BEN)
        assert {verdict.cause for verdict in verdicts} == {Cause.APPLE}

    def test_an_outage_of_one_type_isolates_no_user(self, shop):
        verdicts = []
        for _ in range(4):
            answered(shop, BEN)
            verdicts.append(fail_for_good(shop, of=Trial(USER.key, shop.clock.monotonic(), topic="songs")))
        assert {verdict.cause for verdict in verdicts} == {Cause.APPLE}

    def test_failures_more_than_a_minute_apart_isolate_no_user(self, shop, clock):
        fail_twice(shop)
        clock.move(61.0)
        answered(shop, BEN)
        assert fail_for_good(shop).cause is not Cause.USER

    def test_a_user_who_fails_twice_while_all_fail_is_not(self, shop):
        verdicts = [fail_for_good(shop, user) for user in (USER, BEN) * 3]
        assert {verdict.cause for verdict in verdicts} == {Cause.APPLE}

    def test_a_failure_in_an_outage_is_not_held_against_the_user_later(self, shop, clock):
        for user in (BEN, USER) * 2:
            fail_for_good(shop, user)
        clock.move(11.0)
        answered(shop, BEN)
        assert fail_for_good(shop).cause is not Cause.USER

    def test_what_failed_before_the_breaker_opened_is_not_held_against_the_user_later(self, shop, clock):
        fail_twice(shop)
        open_breaker(shop)
        clock.move(5.0)
        answered(shop, BEN)
        assert fail_for_good(shop).cause is not Cause.USER

    def test_all_tries_of_a_call_are_one_failure_of_the_user(self, shop):
        one, error = trial(shop), apple_error(FAULT)
        for _ in range(3):
            made = sent(shop, READ, one)
            shop.reactions.conclude(one, error, LAST, shop.reactions.failed(made, error))
            answered(shop, BEN)
        verdicts = []
        for _ in range(2):
            verdicts.append(fail_for_good(shop))
            answered(shop, BEN)
        assert [verdict.cause is Cause.USER for verdict in verdicts] == [False, True]

    def test_a_refused_write_is_no_failed_one(self, shop):
        for status in (400, FAULT):
            made = Trial(USER.key, shop.clock.monotonic(), subject="/v1/me/ratings/albums/1", write=True)
            error, put = apple_error(status), Asked(idempotent=True)
            verdict = shop.reactions.failed(sent(shop, put, made), error)
            verdict = shop.reactions.conclude(made, error, msgspec.structs.replace(put, last=True), verdict)
            answered(shop)
        assert (verdict.cause, verdict.counts) == (Cause.APPLE, True)

    def test_failures_for_the_same_id_isolate_no_user(self, shop):
        fail_for_good(shop, subject="/v1/me/ratings/albums/1")
        answered(shop, BEN)
        causes = []
        for number in (1, 1, 1, 2, 3):
            causes.append(fail_for_good(shop, subject=f"/v1/me/ratings/albums/{number}").cause)
            answered(shop, BEN)
        assert causes == [Cause.APPLE] * 4 + [Cause.USER]

    def test_a_call_that_is_divided_is_no_failure_of_the_user_before_its_fragments_are_known(self, shop):
        divided, error = sent(shop, FEW), apple_error(FAULT)
        verdict = shop.reactions.failed(divided, error)
        last = msgspec.structs.replace(FEW, last=True)
        assert shop.reactions.conclude(divided.trial, error, last, verdict).divide
        answered(shop, BEN)
        assert fail_for_good(shop, subject="/v1/me/ratings/albums/1").cause is not Cause.USER

    def test_a_user_who_is_answered_in_the_meantime_has_not_failed(self, shop):
        fail_for_good(shop)
        answered(shop, BEN)
        slow = sent(shop)
        answered(shop)
        error = apple_error(FAULT)
        shop.reactions.conclude(slow.trial, error, LAST, shop.reactions.failed(slow, error))
        assert fail_for_good(shop).cause is not Cause.USER

    @pytest.mark.parametrize(
        "verdict", [Verdict(Cause.THROTTLED, retry=Retry.PACED), Verdict(Cause.DEADLINE)]
    )
    def test_a_429_and_a_passed_deadline_keep_their_verdict(self, shop, verdict):
        assert shop.reactions.conclude(trial(shop), apple_error(429), LAST, verdict) is verdict


class TestTriesOfOneCall:
    def failing(self, shop: Workshop, tries: int) -> Trial:
        made = trial(shop)
        for _ in range(tries):
            shop.reactions.failed(sent(shop, FEW, made), apple_error(FAULT))
        return made

    def test_only_the_first_counts_before_it_is_clear_that_no_id_is_at_fault(self, shop):
        self.failing(shop, FAILURES)
        assert shop.breaker.causes["500"] == 1
        assert shop.breaker.state is State.CLOSED

    def test_the_others_count_once_the_call_as_a_whole_has_failed(self, shop):
        made = self.failing(shop, FAILURES - 1)
        whole = msgspec.structs.replace(LAST, ids=0)
        shop.reactions.conclude(made, apple_error(FAULT), whole, Verdict(counts=True))
        assert shop.breaker.causes["500"] == FAILURES - 1

    @pytest.mark.parametrize("end", ["answered", "abandoned"])
    def test_the_others_count_if_the_call_is_answered_undivided_or_ends_early(self, shop, end):
        made = self.failing(shop, 3)
        if end == "answered":
            shop.reactions.answered(sent(shop, FEW, made))
        else:
            shop.reactions.abandoned(made)
        assert shop.breaker.causes["500"] == 3

    def test_none_counts_if_a_fragment_of_the_call_is_answered(self, shop):
        made = self.failing(shop, 3)
        made.divided = True
        shop.reactions.answered(sent(shop, READ, made))
        shop.reactions.end(made)
        assert shop.breaker.causes["500"] == 0


class TestDividedProbe:
    FRAGMENT = msgspec.structs.replace(FEW, single_try=True)

    @pytest.fixture
    def probe(self, shop, clock) -> Sent:
        open_breaker(shop)
        clock.move(5.0)
        made = sent(shop, FEW)
        assert shop.reactions.failed(made, apple_error(FAULT)).divide
        return made

    def fragment(self, shop: Workshop, probe: Sent) -> Sent:
        """A fragment goes out as the probe: no other call is admitted."""
        assert shop.breaker.refuses(shop.clock.monotonic())
        return msgspec.structs.replace(probe, asked=self.FRAGMENT)

    def test_it_closes_the_breaker_if_a_half_is_answered_but_only_when_the_division_is_over(
        self, shop, probe
    ):
        shop.reactions.failed(self.fragment(shop, probe), apple_error(FAULT))
        shop.reactions.answered(self.fragment(shop, probe))
        assert shop.breaker.is_probe(probe.admission)
        shop.reactions.end(probe.trial)
        assert shop.breaker.state is State.CLOSED

    def test_it_opens_the_breaker_if_none_is(self, shop, probe):
        for _ in range(2):
            shop.reactions.failed(self.fragment(shop, probe), apple_error(FAULT))
        shop.reactions.end(probe.trial)
        assert shop.breaker.state is State.OPEN

    def test_it_makes_room_for_another_if_it_shows_nothing(self, shop, clock):
        open_breaker(shop)
        clock.move(5.0)
        made = sent(shop, FEW)
        assert shop.reactions.failed(made, apple_error(400)).divide
        shop.reactions.cancelled(self.fragment(shop, made))
        assert shop.breaker.refuses(clock.monotonic())
        shop.reactions.end(made.trial)
        shop.reactions.end(made.trial)
        assert not shop.breaker.refuses(clock.monotonic())

    @pytest.mark.parametrize("asked", [FRAGMENT, READ])
    def test_a_fragment_or_later_try_that_becomes_the_probe_ends_it_by_itself(self, shop, clock, asked):
        made = trial(shop)
        shop.reactions.failed(sent(shop, FEW, made), apple_error(FAULT))
        made.divided = made.answered = asked.single_try
        open_breaker(shop)
        clock.move(5.0)
        shop.reactions.failed(sent(shop, asked, made), apple_error(FAULT))
        shop.reactions.end(made)
        assert shop.breaker.state is not State.CLOSED
        clock.move(5.0)
        assert not shop.breaker.refuses(clock.monotonic())

    def test_a_remembered_id_that_is_throttled_makes_room_for_another_at_once(self, shop, clock):
        open_breaker(shop)
        clock.move(5.0)
        made = Trial(USER.key, clock.monotonic(), prior=PriorFailures(remembered=True))
        shop.reactions.failed(
            sent(shop, msgspec.structs.replace(READ, single_try=True), made), apple_error(429)
        )
        assert not shop.breaker.refuses(clock.monotonic())
