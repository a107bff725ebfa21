"""When a failed call is made again: pure decisions, with time and chance as arguments."""

import heapq
import random

import pytest

from gateway.apple.attribution import Retry
from gateway.apple.retry import RetryBudget, RetryPolicy

POLICY = RetryPolicy(attempts=5)
FAULT, THROTTLED = Retry.BACKED_OFF, Retry.PACED


def wait(
    retry: Retry,
    *,
    retry_after: float | None = None,
    attempt: int = 1,
    left: float = 10.0,
    chance: float = 0.5,
) -> float | None:
    return POLICY.wait(retry, retry_after, attempt=attempt, left=left, chance=chance)


class TestPolicy:
    @pytest.mark.parametrize("retry", [Retry.NEVER, Retry.AT_ONCE, Retry.RENEWED])
    def test_only_what_is_repeated_after_a_wait_has_one(self, retry):
        assert wait(retry) is None

    def test_the_last_attempt_is_the_last(self):
        assert wait(FAULT, attempt=4) is not None
        assert wait(FAULT, attempt=5) is None

    @pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
    def test_a_429_waits_about_half_a_second(self, chance):
        assert wait(THROTTLED, chance=chance) == pytest.approx(0.55, abs=0.11)

    def test_429s_in_a_row_wait_longer(self):
        waits = [wait(THROTTLED, attempt=attempt, left=100.0) for attempt in range(1, 5)]
        assert waits == pytest.approx([0.55, 0.825, 1.2375, 1.85625])

    def test_other_failures_wait_exponentially_with_jitter(self):
        assert wait(FAULT, chance=0.0) == pytest.approx(0.025)
        assert [wait(FAULT, attempt=attempt, chance=1.0) for attempt in range(1, 5)] == [0.1, 0.2, 0.4, 0.8]

    def test_no_wait_is_longer_than_two_seconds(self):
        assert RetryPolicy(attempts=50).wait(FAULT, None, attempt=40, left=100.0, chance=1.0) == 2.0

    @pytest.mark.parametrize("retry", [FAULT, THROTTLED])
    def test_retry_after_is_a_floor(self, retry):
        assert wait(retry, retry_after=3.0, chance=0.0) == 3.0
        assert 3.0 < (wait(retry, retry_after=3.0, chance=0.9) or 0.0) < 3.2

    def test_a_shorter_retry_after_does_not_shorten_the_wait(self):
        assert wait(THROTTLED, retry_after=0.0) == wait(THROTTLED)

    def test_a_wait_that_would_end_past_the_deadline_is_not_begun(self):
        assert wait(THROTTLED, left=0.5) is None
        assert wait(THROTTLED, retry_after=30.0, left=10.0) is None


class TestBudget:
    def test_quiet_times_have_a_small_floor(self):
        budget = RetryBudget(floor=3)
        assert [budget.take(0.0) for _ in range(5)] == [True, True, True, False, False]

    def test_a_fifth_of_the_last_minutes_tries(self):
        budget = RetryBudget(floor=3)
        for _ in range(100):
            budget.count_try(10.0)
        assert sum(budget.take(10.0) for _ in range(100)) == 20

    def test_tries_and_retries_are_forgotten_after_a_minute(self):
        budget = RetryBudget(floor=1)
        for _ in range(100):
            budget.count_try(0.0)
        assert all(budget.take(59.0) for _ in range(20))
        assert not budget.take(59.9)
        assert not budget.take(60.0)
        assert budget.take(119.0)
        assert not budget.take(119.0)

    def test_a_long_silence_is_bridged(self):
        budget = RetryBudget(floor=1)
        budget.count_try(0.0)
        assert budget.take(1e9)
        assert not budget.take(1e9)

    def test_a_minute_of_failures_costs_a_fifth_at_most(self):
        budget = RetryBudget()
        retries = 0
        for second in range(60):
            for _ in range(20):
                budget.count_try(float(second))
                if budget.take(float(second)):
                    retries += 1
                    budget.count_try(float(second))
        assert retries <= 0.2 * (60 * 20 + retries)

    @pytest.mark.parametrize("seed", range(5))
    def test_a_bad_minute_passes_without_a_failed_answer_and_with_few_more_calls(self, seed):
        """10 % 429s and 2 % 500s at 20 calls a second."""
        chance = random.Random(seed)
        budget = RetryBudget()
        due = [(number / 20, number, 1) for number in range(1200)]
        calls = 0
        while due:
            now, number, attempt = heapq.heappop(due)
            calls += 1
            budget.count_try(now)
            dice = chance.random()
            if dice < 0.12:
                retry = THROTTLED if dice < 0.1 else FAULT
                pause = POLICY.wait(
                    retry, None, attempt=attempt, left=number / 20 + 10 - now, chance=chance.random()
                )
                assert pause is not None
                assert retry is THROTTLED or budget.take(now)
                heapq.heappush(due, (now + pause, number, attempt + 1))
        assert calls <= 1.25 * 1200
