"""Slots for calls: a limit that adapts, and turns that are fair."""

import asyncio
import random
from contextlib import AsyncExitStack

import pytest

from gateway.apple.concurrency import (
    ConcurrencyLimiter,
)
from gateway.errors import DeadlineExceeded
from gateway.model import Priority
from gateway.telemetry.metrics import Metrics
from gateway.waiters import Requester, Waiters
from tests.e2e.clock_jumps import LoopClock, play
from tests.hand_clock import HandClock

BACKGROUND = Priority.BACKGROUND


class TestLimiter:
    @pytest.fixture
    def clock(self):
        return HandClock()

    @pytest.fixture
    def metrics(self):
        return Metrics()

    @pytest.fixture
    def news(self):
        return []

    @pytest.fixture
    def pauses(self):
        return []

    @pytest.fixture
    def limiter(self, clock, metrics, news, pauses):
        return ConcurrencyLimiter(
            max_concurrency=2,
            clock=clock,
            metrics=metrics,
            on_throttled=news.append,
            chance=lambda: 0.5,
            later=lambda seconds, resume: pauses.append((seconds, resume)),
        )

    @pytest.fixture
    def sample(self, metrics):
        return lambda name: metrics.registry.get_sample_value(f"gateway_{name}")

    @staticmethod
    def slot(limiter, clock, *, waiters=None, seconds=5.0):
        return limiter.slot(b"ada", waiters or Waiters(Requester()), clock.monotonic() + seconds)

    async def test_a_call_waits_for_a_slot_and_gives_it_back(self, limiter, clock, sample):
        order = []
        release = asyncio.Event()

        async def call(name):
            async with self.slot(limiter, clock):
                order.append(name)
                await release.wait()

        tasks = [asyncio.create_task(call(name)) for name in "abc"]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert order == ["a", "b"]
        assert sample("upstream_in_flight") == 2.0
        release.set()
        await asyncio.gather(*tasks)
        assert order == ["a", "b", "c"]
        assert sample("upstream_in_flight") == 0.0

    async def test_no_slot_by_the_deadline_is_a_deadline_exceeded_and_loses_nothing(
        self, limiter, clock, sample
    ):
        async with AsyncExitStack() as held:
            for _ in range(2):
                await held.enter_async_context(self.slot(limiter, clock))
            with pytest.raises(DeadlineExceeded):
                async with self.slot(limiter, clock, seconds=0.0):
                    pytest.fail("there was no slot")
        assert sample("upstream_in_flight") == 0.0

    async def test_a_cancelled_wait_leaves_the_queue(self, limiter, clock, sample):
        async with AsyncExitStack() as held:
            for _ in range(2):
                await held.enter_async_context(self.slot(limiter, clock))

            async def call():
                async with self.slot(limiter, clock):
                    pytest.fail("there was no slot")

            waiting = asyncio.create_task(call())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert sample("upstream_in_flight") == 0.0

    async def test_a_slot_granted_in_the_step_of_the_cancellation_is_given_back(self, limiter, clock, sample):
        first, second = self.slot(limiter, clock), self.slot(limiter, clock)
        await first.__aenter__()
        await second.__aenter__()

        async def call():
            async with self.slot(limiter, clock):
                pytest.fail("it was cancelled")

        waiting = asyncio.create_task(call())
        await asyncio.sleep(0)
        await first.__aexit__(None, None, None)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await second.__aexit__(None, None, None)
        assert sample("upstream_in_flight") == 0.0
        async with self.slot(limiter, clock), self.slot(limiter, clock):
            assert sample("upstream_in_flight") == 2.0

    async def test_a_slot_granted_after_the_cancellation_is_given_back(self, limiter, clock, sample):
        first, second = self.slot(limiter, clock), self.slot(limiter, clock)
        await first.__aenter__()
        await second.__aenter__()

        async def call():
            async with self.slot(limiter, clock):
                pytest.fail("it was cancelled")

        waiting = asyncio.create_task(call())
        await asyncio.sleep(0)
        waiting.cancel()
        await first.__aexit__(None, None, None)
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await second.__aexit__(None, None, None)
        assert sample("upstream_in_flight") == 0.0

    async def test_a_failing_call_gives_its_slot_back(self, limiter, clock, sample):
        with pytest.raises(KeyError):
            async with self.slot(limiter, clock):
                raise KeyError
        assert sample("upstream_in_flight") == 0.0

    async def test_a_priority_raised_in_the_queue_applies(self, limiter, clock):
        order = []

        async def call(name, waiters):
            async with self.slot(limiter, clock, waiters=waiters):
                order.append(name)

        first, second = self.slot(limiter, clock), self.slot(limiter, clock)
        await first.__aenter__()
        await second.__aenter__()
        refresh, wanted = Waiters(Requester(BACKGROUND)), Waiters(Requester(BACKGROUND))
        calls = [asyncio.create_task(call("refresh", refresh)), asyncio.create_task(call("wanted", wanted))]
        await asyncio.sleep(0)
        wanted.join(Requester())
        await first.__aexit__(None, None, None)
        await asyncio.gather(*calls)
        await second.__aexit__(None, None, None)
        assert order == ["wanted", "refresh"]

    def test_a_429_is_counted_lowers_the_limit_and_is_news(self, limiter, clock, sample, news):
        limiter.throttled(3.0)
        limiter.throttled(None)
        assert sample("upstream_throttled_total") == 2.0
        assert sample("upstream_concurrency_limit") == 1.0
        assert news == [3.0]
        clock.move(1.0)
        limiter.throttled(None)
        assert news == [3.0, 0.0]

    def test_a_429_of_another_gateway_lowers_the_limit_and_is_not_published_again(
        self, limiter, sample, news
    ):
        limiter.throttled_elsewhere()
        assert sample("upstream_concurrency_limit") == 1.0
        assert sample("upstream_throttled_total") == 0.0
        assert news == []

    async def test_no_call_begins_for_half_a_second_where_apple_takes_nothing(self, limiter, clock, pauses):
        limiter.throttled(None)
        ((seconds, resume),) = pauses
        call = asyncio.ensure_future(self.slot(limiter, clock).__aenter__())
        await asyncio.sleep(0)
        assert (seconds, call.done()) == (0.5, False)
        resume()
        await call

    async def test_where_most_calls_are_answered_only_the_refused_one_waits(self, limiter, clock, pauses):
        for _ in range(10):
            limiter.succeeded()
        limiter.throttled(None)
        assert pauses == []

    async def test_the_wait_for_a_slot_is_measured(self, limiter, clock, sample):
        first, second = self.slot(limiter, clock), self.slot(limiter, clock)
        await first.__aenter__()
        await second.__aenter__()
        third = asyncio.ensure_future(self.slot(limiter, clock).__aenter__())
        await asyncio.sleep(0)
        clock.move(2.0)
        await first.__aexit__(None, None, None)
        await third
        assert (sample("upstream_queue_seconds_count"), sample("upstream_queue_seconds_sum")) == (3.0, 2.0)

    async def test_successes_raise_the_limit_again(self, limiter, clock, sample, pauses):
        limiter.throttled_elsewhere()
        pauses.pop()[1]()
        async with self.slot(limiter, clock):
            for _ in range(2):
                limiter.succeeded()
        assert sample("upstream_concurrency_limit") == 2.0


CALLS = 50 * 60
CALL_SECONDS = 0.3
THROTTLED = 0.1


async def longest_wait(seed):
    """Seconds that the slowest call of a minute stood in the queue: fifty a second need fifteen at once."""
    clock = LoopClock()
    chance = random.Random(seed)
    limiter = ConcurrencyLimiter(
        max_concurrency=64, clock=clock, metrics=Metrics(), on_throttled=lambda _: None
    )
    waited = []

    async def call():
        while True:
            asked = clock.monotonic()
            async with limiter.slot(b"ada", Waiters(Requester()), asked + 600):
                waited.append(clock.monotonic() - asked)
                await asyncio.sleep(CALL_SECONDS)
                if chance.random() >= THROTTLED:
                    limiter.succeeded()
                    return
                limiter.throttled(None)
            await asyncio.sleep(0.5 + 0.1 * chance.random())

    async with asyncio.TaskGroup() as minute:
        for _ in range(CALLS):
            minute.create_task(call())
            await asyncio.sleep(60 / CALLS)
    return max(waited)


@pytest.mark.parametrize("seed", range(3))
def test_a_tenth_of_429s_does_not_starve_a_busy_gateway(seed):
    assert play(longest_wait(seed)) < 3.0
