"""One call with its attempts: the checks before it, the reactions to its end, and its repetitions."""

import asyncio

import pytest

from gateway.apple.call import Call, Failed
from gateway.apple.response import AppleResponse, failure_of
from gateway.breaker import State
from gateway.errors import (
    AppleError,
    BreakerOpen,
    DeadlineExceeded,
    Quarantined,
    Unreachable,
    Unusable,
    UpstreamError,
)
from gateway.waiters import Requester
from tests.apple.builders import USER, FakeTransport, Workshop, call

REFUSED = Unreachable("refused", proxy_error="connection_refused", sent=False)
LOST = Unreachable("gone", proxy_error="connection_terminated", sent=True)
LATE = Unreachable("late", proxy_error="http_response_timeout", sent=True)
OK = AppleResponse(200, b"fine")


def read(answer: AppleResponse) -> bytes:
    if answer.body == b"<html>":
        raise Unusable("html", received_status=answer.status)
    if answer.status >= 300:
        raise failure_of(answer)
    return answer.body


@pytest.fixture
def transport():
    transport = FakeTransport()
    transport.otherwise = OK
    return transport


@pytest.fixture
def shop(transport, clock):
    return Workshop(transport, clock)


async def run(shop: Workshop, what: Call | None = None, *, seconds: float = 10.0) -> bytes:
    asked = what or call(began=shop.clock.monotonic())
    outcome = await shop.caller.run(asked, read, shop.clock.monotonic() + seconds)
    if isinstance(outcome, Failed):
        raise outcome.error
    return outcome


async def failed(shop: Workshop, what: Call | None = None, *, seconds: float = 10.0) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await run(shop, what, seconds=seconds)
    return caught.value


class TestOnce:
    async def test_what_is_read_from_the_answer_comes_back(self, shop, transport):
        assert await run(shop) == b"fine"
        assert transport.tokens == [shop.tokens.current().text]
        assert shop.statuses() == {"200": 1.0}
        assert shop.sample("upstream_request_duration_seconds_count", operation="read") == 1.0

    @pytest.mark.parametrize("what", ["id", "user", "connection"])
    async def test_isolated_failures_are_exported_as_0_before_the_first(self, shop, what):
        registry = shop.metrics.registry
        assert registry.get_sample_value("gateway_upstream_isolated_total", {"what": what}) == 0

    async def test_it_counts_for_the_request_that_it_is_made_for(self, shop, transport):
        requester = Requester()
        transport.turns = [AppleResponse(500, b"")]
        await run(shop, call(requester=requester))
        assert requester.calls == 2

    async def test_an_attempt_has_the_call_timeout_or_what_is_left(self, shop, transport):
        await run(shop, seconds=10.0)
        await run(shop, seconds=2.0)
        assert transport.timeouts == [3.0, 2.0]

    async def test_a_cancelled_call_gives_everything_back(self, shop, transport):
        transport.hold = asyncio.Event()
        task = asyncio.create_task(run(shop))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert shop.sample("upstream_in_flight") == 1.0
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert shop.sample("upstream_in_flight") == 0.0
        assert shop.statuses() == {"cancelled": 1.0}


class TestRetries:
    @pytest.mark.parametrize(
        ("failure", "reason"),
        [(LOST, "connection"), (AppleResponse(429, b""), "429"), (AppleResponse(200, b"<html>"), "200")],
    )
    async def test_a_passing_failure_costs_another_call_and_no_answer(self, shop, transport, failure, reason):
        transport.turns = [failure]
        assert await run(shop) == b"fine"
        assert transport.calls == 2
        assert shop.sample("upstream_retries_total", reason=reason) == 1.0

    async def test_while_another_try_is_due_those_who_wait_can_see_what_apple_answered(self, shop, transport):
        transport.turns = [AppleResponse(503, b"")]
        seen, what = [], call()
        shop.during_wait = lambda: seen.append(what.waiters.failure and what.waiters.failure.received_status)
        await run(shop, what)
        assert (seen, what.waiters.failure) == ([503], None)

    async def test_the_success_of_another_call_of_the_same_fetch_does_not_hide_it(self, shop, transport):
        transport.turns = [AppleResponse(503, b"")]
        seen, what = [], call()

        async def another() -> None:
            await run(shop, what)
            seen.append(what.waiters.failure and what.waiters.failure.received_status)

        others: list[asyncio.Task[None]] = []
        shop.during_wait = lambda: others.append(asyncio.create_task(another()))
        await run(shop, what)
        await asyncio.gather(*others)
        assert seen == [503]

    async def test_other_failures_are_raised_at_once(self, shop, transport):
        transport.turns = [AppleResponse(400, b"{}")]
        await failed(shop)
        assert transport.calls == 1

    async def test_the_last_failure_is_raised_when_the_attempts_are_used_up(self, shop, transport):
        transport.turns = [
            AppleResponse(500, b""),
            AppleResponse(500, b""),
            LOST,
            AppleResponse(500, b""),
            AppleResponse(503, b""),
        ]
        failure = await failed(shop)
        assert failure.status == 503
        assert transport.calls == 5

    async def test_no_slot_is_held_during_the_wait(self, shop, transport):
        in_flight = []
        shop.during_wait = lambda: in_flight.append(shop.sample("upstream_in_flight"))
        transport.turns = [AppleResponse(500, b"")]
        await run(shop)
        assert in_flight == [0.0]

    async def test_no_wait_goes_past_the_deadline(self, shop, transport):
        transport.otherwise = AppleResponse(429, b"")
        failure = await failed(shop, seconds=1.0)
        assert failure.status == 429
        assert shop.waits == [pytest.approx(0.55)]

    async def test_a_spent_budget_ends_the_retries(self, transport, clock):
        shop = Workshop(transport, clock, floor=2)
        transport.otherwise = AppleResponse(500, b"")
        await failed(shop)
        assert transport.calls == 3
        await failed(shop)
        assert transport.calls == 4

    async def test_apples_answer_outranks_the_reason_for_no_further_attempt(self, transport, clock):
        shop = Workshop(transport, clock, min_calls=2)
        transport.otherwise = AppleResponse(500, b"")
        failure = await failed(shop)
        assert (failure.status, transport.calls) == (500, 2)
        assert shop.breaker.state is State.OPEN


class TestWrites:
    async def test_what_may_have_been_done_is_not_done_again(self, shop, transport):
        transport.turns = [AppleResponse(500, b"")]
        await failed(shop, call("PUT"))
        assert transport.calls == 1

    @pytest.mark.parametrize("failure", [REFUSED, AppleResponse(401, b"")], ids=["no connection", "401"])
    async def test_what_certainly_was_not_done_is_done_again(self, shop, transport, failure):
        transport.turns = [failure]
        assert await run(shop, call("PUT")) == b"fine"
        assert transport.calls == 2


class TestDeveloperToken:
    async def test_after_a_401_the_call_is_repeated_with_a_new_token(self, shop, transport):
        transport.turns = [AppleResponse(401, b"")]
        assert await run(shop) == b"fine"
        assert transport.tokens[0] != transport.tokens[1] == shop.tokens.current().text
        assert shop.sample("developer_token_mints_total", reason="refused") == 1.0
        assert shop.sample("upstream_retries_total", reason="401") == 1.0
        assert shop.waits == []

    async def test_it_is_repeated_once(self, shop, transport):
        transport.otherwise = AppleResponse(401, b"")
        failure = await failed(shop)
        assert isinstance(failure, AppleError)
        assert (failure.status, failure.body, transport.calls) == (401, b"", 2)

    async def test_many_calls_refused_together_mint_once(self, shop, transport):
        refused = shop.tokens.current().text
        transport.otherwise = lambda token: AppleResponse(401, b"") if token == refused else OK
        transport.hold = asyncio.Event()
        calls = [asyncio.create_task(run(shop)) for _ in range(4)]
        await asyncio.sleep(0)
        transport.hold.set()
        assert await asyncio.gather(*calls) == [b"fine"] * 4
        assert transport.calls == 8
        assert shop.sample("developer_token_mints_total", reason="refused") == 1.0

    async def test_a_key_unknown_to_apple_does_not_double_the_calls(self, shop, transport):
        transport.otherwise = AppleResponse(401, b"")
        await failed(shop)
        await failed(shop)
        await failed(shop)
        assert transport.calls == 4

    async def test_the_repetition_is_not_one_of_the_attempts(self, transport, clock):
        shop = Workshop(transport, clock, attempts=2)
        transport.turns = [AppleResponse(401, b""), AppleResponse(500, b"")]
        assert await run(shop) == b"fine"


class TestDeadline:
    async def test_a_call_whose_time_is_up_is_not_made(self, shop, transport):
        assert isinstance(await failed(shop, seconds=0.0), DeadlineExceeded)
        assert transport.calls == 0

    async def test_a_timeout_that_comes_from_the_deadline_is_no_fault_of_apples(self, transport, clock):
        shop = Workshop(transport, clock, min_calls=1)
        transport.otherwise = LATE
        assert isinstance(await failed(shop, seconds=1.0), DeadlineExceeded)
        assert shop.breaker.state is State.CLOSED
        assert shop.statuses() == {"deadline": 1.0}

    async def test_another_fault_near_the_deadline_is_what_it_is(self, shop, transport):
        transport.otherwise = LOST
        assert isinstance(await failed(shop, seconds=0.01), Unreachable)


class TestBreaker:
    @pytest.mark.parametrize(("status", "state"), [(500, State.OPEN), (400, State.CLOSED)])
    async def test_a_failure_that_counts_opens_it(self, transport, clock, status, state):
        shop = Workshop(transport, clock, min_calls=1, attempts=1)
        transport.turns = [AppleResponse(status, b'{"errors":[{"code":"x"}]}')]
        await failed(shop)
        assert shop.breaker.state is state
        assert shop.statuses() == {str(status): 1.0}

    async def test_open_nothing_is_sent_and_the_caller_learns_for_how_long(self, transport, clock):
        shop = Workshop(transport, clock, min_calls=1, attempts=1)
        transport.turns = [AppleResponse(500, b"")]
        await failed(shop)
        clock.move(2.0)
        failure = await failed(shop)
        assert isinstance(failure, BreakerOpen)
        assert (failure.retry_after, transport.calls) == (3.0, 1)

    async def test_open_the_check_before_a_write_fails_alike(self, transport, clock):
        shop = Workshop(transport, clock, min_calls=1, attempts=1)
        transport.turns = [AppleResponse(500, b"")]
        await failed(shop)
        clock.move(2.0)
        with pytest.raises(BreakerOpen) as caught:
            shop.caller.check(USER.key, write=True)
        assert (caught.value.retry_after, str(caught.value)) == (3.0, str(await failed(shop)))

    async def test_while_the_breaker_is_open_no_call_waits_for_a_slot(self, transport, clock):
        shop = Workshop(transport, clock, min_calls=1, attempts=1, max_concurrency=1)
        transport.hold = asyncio.Event()
        slow = asyncio.create_task(run(shop))
        await asyncio.sleep(0)
        admission = shop.breaker.admit(clock.monotonic())
        assert admission is not None
        shop.breaker.record(admission, ok=False, now=clock.monotonic())
        assert isinstance(await failed(shop), BreakerOpen)
        transport.hold.set()
        assert await slow == b"fine"

    async def test_those_in_the_queue_are_refused_when_it_opens(self, transport, clock):
        shop = Workshop(transport, clock, min_calls=1, attempts=1, max_concurrency=1)
        transport.hold = asyncio.Event()
        transport.turns = [AppleResponse(500, b"")]
        calls = [asyncio.create_task(run(shop)) for _ in range(3)]
        await asyncio.sleep(0)
        transport.hold.set()
        failures = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(failure) for failure in failures] == [AppleError, BreakerOpen, BreakerOpen]
        assert transport.calls == 1

    async def test_half_open_a_single_probe_goes_out_and_closes_it(self, transport, clock):
        shop = Workshop(transport, clock, min_calls=1, attempts=1)
        transport.turns = [AppleResponse(500, b"")]
        await failed(shop)
        clock.move(5.0)
        transport.hold = asyncio.Event()
        calls = [asyncio.create_task(run(shop)) for _ in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        transport.hold.set()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [isinstance(result, BreakerOpen) for result in results] == [False, True, True]
        assert shop.breaker.state is State.CLOSED

    @pytest.mark.parametrize("ending", ["cancelled", "429"])
    async def test_a_probe_without_a_result_lets_another_through(self, transport, clock, ending):
        shop = Workshop(transport, clock, min_calls=1, attempts=1)
        transport.turns = [AppleResponse(500, b""), AppleResponse(429, b"")]
        await failed(shop)
        clock.move(5.0)
        if ending == "429":
            await failed(shop)
        else:
            transport.turns = []
            transport.hold = asyncio.Event()
            probe = asyncio.create_task(run(shop))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            probe.cancel()
            await asyncio.gather(probe, return_exceptions=True)
            transport.hold.set()
        assert await run(shop) == b"fine"


class TestLargeCalls:
    async def test_a_504_of_a_call_that_can_be_divided_is_handed_back_at_once(self, shop, transport):
        transport.turns = [AppleResponse(504, b"")]
        assert (await failed(shop, call(divisible=True))).status == 504
        assert transport.calls == 1

    async def test_it_is_not_held_against_apple(self, transport, clock):
        shop = Workshop(transport, clock, min_calls=1)
        transport.turns = [AppleResponse(504, b"")]
        await failed(shop, call(divisible=True))
        assert shop.breaker.state is State.CLOSED

    async def test_other_failures_of_it_are_retried_as_ever(self, shop, transport):
        transport.turns = [AppleResponse(503, b"")]
        assert await run(shop, call(divisible=True)) == b"fine"


class TestThrottling:
    async def test_a_429_lowers_the_limit_and_is_news(self, shop, transport):
        transport.turns = [AppleResponse(429, b"", 1.0)]
        await run(shop)
        assert shop.sample("upstream_throttled_total") == 1.0
        assert shop.sample("upstream_concurrency_limit") == 2.0
        assert shop.news == [1.0]
        assert shop.waits == [pytest.approx(1.05)]

    async def test_answers_raise_it_again_errors_included(self, shop, transport):
        for _ in range(2):
            shop.limiter.succeeded()
        shop.limiter.throttled_elsewhere()
        transport.turns = [OK, AppleResponse(400, b"{}"), OK, OK]
        await run(shop)
        await failed(shop)
        await run(shop)
        await run(shop)
        assert shop.sample("upstream_concurrency_limit") == 4.0


class TestQuarantine:
    REFUSAL = AppleResponse(403, b'{"errors":[{"code":"40300"}]}')

    async def test_a_refused_user_token_is_not_sent_again(self, shop, transport):
        transport.turns = [self.REFUSAL]
        assert (await failed(shop)).received_status == 403
        failure = await failed(shop)
        assert isinstance(failure, Quarantined)
        assert failure.body == self.REFUSAL.body
        assert transport.calls == 1
        assert shop.sample("quarantined_requests_total") == 1.0

    async def test_the_check_before_a_write_counts_a_refusal_like_a_call(self, shop, transport):
        shop.caller.check(USER.key, write=True)
        transport.turns = [self.REFUSAL]
        await failed(shop)
        with pytest.raises(Quarantined) as caught:
            shop.caller.check(USER.key, write=True)
        assert (caught.value.body, transport.calls) == (self.REFUSAL.body, 1)
        assert shop.sample("quarantined_requests_total") == 1.0

    async def test_nor_by_those_who_stood_in_the_queue(self, transport, clock):
        shop = Workshop(transport, clock, max_concurrency=1)
        transport.hold = asyncio.Event()
        transport.turns = [self.REFUSAL]
        calls = [asyncio.create_task(run(shop)) for _ in range(3)]
        await asyncio.sleep(0)
        transport.hold.set()
        failures = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(failure) for failure in failures] == [AppleError, Quarantined, Quarantined]
        assert transport.calls == 1

    async def test_after_the_time_set_it_is_tried_again(self, shop, transport, clock):
        transport.turns = [self.REFUSAL]
        await failed(shop)
        clock.move(10.0)
        assert await run(shop) == b"fine"
