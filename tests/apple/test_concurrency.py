"""Slots for calls: a limit that adapts, and turns that are fair."""

import asyncio
import random
from contextlib import AsyncExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.apple.concurrency import (
    DECREASE,
    HALVED,
    AdaptiveLimit,
    ConcurrencyLimiter,
    QueuedCall,
    SlotQueue,
)
from gateway.errors import DeadlineExceeded, NoCapacity
from gateway.model import Priority
from gateway.telemetry.metrics import Metrics
from gateway.waiters import Requester, Waiters
from tests.e2e.clock_jumps import LoopClock, play
from tests.hand_clock import HandClock

BACKGROUND = Priority.BACKGROUND


class TestLimit:
    def test_it_begins_at_its_bound_and_never_passes_it(self):
        limit = AdaptiveLimit(8)
        limit.succeeded()
        assert limit.current == 8

    def test_a_429_among_many_answers_lowers_it_by_a_tenth(self):
        limit = answered(AdaptiveLimit(10))
        assert limit.throttled(0.0) == DECREASE
        assert limit.current == 9

    def test_where_most_answers_are_429s_it_is_halved(self):
        limit = AdaptiveLimit(10)
        limit.succeeded()
        assert limit.throttled(0.0) == HALVED
        assert limit.current == 5

    def test_it_is_lowered_at_most_once_in_half_a_second(self):
        limit = AdaptiveLimit(100)
        limit.throttled(0.0)
        assert limit.throttled(0.49) is None
        assert limit.current == 50
        assert limit.throttled(0.5)
        assert limit.current == 25

    def test_it_never_falls_below_one(self):
        limit = AdaptiveLimit(2)
        for moment in range(20):
            limit.throttled(float(moment))
        assert limit.current == 1

    def test_as_many_successes_as_the_limit_raise_it_by_about_one(self):
        limit = answered(AdaptiveLimit(100))
        limit.throttled(0.0)
        for _ in range(89):
            limit.succeeded()
        assert limit.current == 90
        for _ in range(3):
            limit.succeeded()
        assert limit.current == 91


def answered(limit: AdaptiveLimit) -> AdaptiveLimit:
    """The limit after many answers that were no 429."""
    for _ in range(100):
        limit.succeeded()
    return limit


class Queue:
    """Slots, and the names of the calls that got one, in order."""

    def __init__(self, limit: int, *, longest: int = 100) -> None:
        self.limit = AdaptiveLimit(limit)
        self.slots = SlotQueue(self.limit, longest_queue=longest)
        self.granted: list[str] = []

    def ask(self, name: str, requester: Requester | None = None) -> QueuedCall:
        return self.slots.ask(Waiters(requester or Requester()), lambda: self.granted.append(name))

    def ask_many(self, name: str, count: int, priority: Priority = Priority.FOREGROUND) -> list[QueuedCall]:
        requester = Requester(priority)
        return [self.ask(f"{name}{number}", requester) for number in range(count)]


class TestSlots:
    def test_free_slots_are_granted_at_once_and_no_more(self):
        queue = Queue(2)
        queue.ask("a")
        queue.ask("b")
        queue.ask("c")
        assert queue.granted == ["a", "b"]
        assert queue.slots.in_flight == 2

    def test_a_slot_given_back_goes_to_the_next(self):
        queue = Queue(1)
        first = queue.ask("a")
        queue.ask("b")
        queue.slots.give_back(first)
        assert queue.granted == ["a", "b"]

    def test_a_lower_limit_holds_back_until_enough_came_back(self):
        queue = Queue(4)
        turns = queue.ask_many("a", 4)
        queue.ask("b")
        queue.limit.throttled(0.0)
        queue.slots.give_back(turns[0])
        queue.slots.give_back(turns[1])
        assert "b" not in queue.granted
        queue.slots.give_back(turns[2])
        assert queue.granted[-1] == "b"

    def test_a_turn_that_leaves_the_queue_is_never_granted(self):
        queue = Queue(1)
        first = queue.ask("a")
        gone = queue.ask("b")
        queue.ask("c")
        queue.slots.give_back(gone)
        queue.slots.give_back(first)
        assert queue.granted == ["a", "c"]

    def test_a_full_queue_refuses(self):
        queue = Queue(1, longest=2)
        requester = Requester()
        queue.ask("a")
        queue.ask("b", requester)
        waiting = queue.ask("c", requester)
        with pytest.raises(NoCapacity):
            queue.ask("d", requester)
        queue.slots.give_back(waiting)
        queue.ask("d", requester)

    def test_a_queue_full_of_large_requests_takes_as_many_calls_of_others(self):
        queue = Queue(1, longest=2)
        queue.ask("a")
        large = Requester()
        queue.ask("b", large)
        queue.ask("c", large)
        queue.ask("d")
        queue.ask("e")
        with pytest.raises(NoCapacity):
            queue.ask("f")

    def test_background_calls_fill_only_half_of_the_queue(self):
        queue = Queue(1, longest=4)
        queue.ask("a")
        queue.ask_many("b", 2, BACKGROUND)
        with pytest.raises(NoCapacity):
            queue.ask("c", Requester(BACKGROUND))
        queue.ask("d")


class TestFairness:
    def test_foreground_goes_before_background(self):
        queue = Queue(1)
        first = queue.ask("a")
        queue.ask("refresh", Requester(BACKGROUND))
        queue.ask("read")
        queue.slots.give_back(first)
        assert queue.granted == ["a", "read"]

    def test_alone_a_request_may_have_every_slot(self):
        queue = Queue(8)
        queue.ask_many("a", 20)
        assert len(queue.granted) == 8

    def test_a_large_request_never_starves_the_others(self):
        queue = Queue(8)
        large = queue.ask_many("large", 100)
        queue.ask("small")
        queue.slots.give_back(large[0])
        assert queue.granted[-1] == "small"

    def test_a_request_holds_no_more_than_a_quarter_while_others_wait(self):
        queue = Queue(8)
        holder = queue.ask("holder")
        others = queue.ask_many("others", 7)
        queue.ask_many("large", 50)
        queue.ask_many("middle", 50)
        for turn in (holder, *others[:4]):
            queue.slots.give_back(turn)
        assert sorted(queue.granted[8:]) == ["large0", "large1", "large2", "middle0", "middle1"]

    def test_requests_take_turns(self):
        queue = Queue(1)
        turn = queue.ask("first")
        requesters = {"a": Requester(), "b": Requester()}
        waiting = {f"{name}{n}": queue.ask(f"{name}{n}", requesters[name]) for name in "ab" for n in range(2)}
        for _ in range(4):
            queue.slots.give_back(turn)
            turn = waiting[queue.granted[-1]]
        assert queue.granted[1:] == ["a0", "b0", "a1", "b1"]


class TestShared:
    def test_a_background_call_that_a_request_joins_is_promoted(self):
        queue = Queue(1)
        first = queue.ask("a")
        queue.ask("refresh", Requester(BACKGROUND))
        promoted = queue.ask("promoted", Requester(BACKGROUND))
        promoted.waiters.join(Requester())
        queue.slots.requeue(promoted)
        queue.slots.give_back(first)
        queue.slots.give_back(promoted)
        assert queue.granted == ["a", "promoted", "refresh"]

    def test_a_call_that_a_small_request_shares_with_a_large_one_counts_for_the_small_one(self):
        queue = Queue(4)
        large = Requester()
        turns = [queue.ask(f"large{n}", large) for n in range(10)]
        wanted = turns[9]
        small = Requester()
        wanted.waiters.join(small)
        queue.slots.requeue(wanted)
        queue.slots.give_back(turns[0])
        assert queue.granted[-1] == "large9"
        assert wanted.holder is small

    def test_a_shared_call_keeps_its_first_place_too(self):
        queue = Queue(1)
        turn = queue.ask("a")
        requester = Requester()
        shared = queue.ask("shared", requester)
        queue.ask("later", requester)
        shared.waiters.join(Requester())
        queue.slots.requeue(shared)
        queue.slots.give_back(turn)
        assert queue.granted == ["a", "shared"]

    def test_a_shared_call_is_granted_once(self):
        queue = Queue(1)
        turn = queue.ask("a")
        shared = queue.ask("shared")
        shared.waiters.join(Requester())
        queue.slots.requeue(shared)
        queue.slots.give_back(turn)
        queue.slots.give_back(shared)
        assert queue.granted == ["a", "shared"]
        assert queue.slots.in_flight == 0

    def test_news_of_more_demand_after_the_grant_changes_nothing(self):
        queue = Queue(2)
        turn = queue.ask("a")
        turn.waiters.join(Requester())
        queue.slots.requeue(turn)
        queue.slots.give_back(turn)
        assert queue.granted == ["a"]
        assert queue.slots.in_flight == 0


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(Priority), st.integers(0, 30))))
def test_no_slot_is_ever_lost_or_given_twice(steps):
    """Any order of asking, sharing, promoting and giving back."""
    queue = Queue(3, longest=1000)
    requesters = {priority: [Requester(priority) for _ in range(3)] for priority in Priority}
    turns: list[QueuedCall] = []
    for number, (action, priority, which) in enumerate(steps):
        if action == 0 or not turns:
            turns.append(queue.ask(str(number), requesters[priority][which % 3]))
        elif action == 1:
            turn = turns[which % len(turns)]
            turn.waiters.join(requesters[priority][which % 3])
            queue.slots.requeue(turn)
        else:
            queue.slots.give_back(turns.pop(which % len(turns)))
        assert queue.slots.in_flight == sum(turn.holder is not None for turn in turns)
        background = any(turn.background for turn in turns)
        assert all(
            queue.slots.in_flight == 3 or (turn.waiters.priority is BACKGROUND and background)
            for turn in turns
            if turn.holder is None
        )
    while turns:
        queue.slots.give_back(turns.pop())
    assert queue.slots.in_flight == 0
    assert len(set(queue.granted)) == len(queue.granted)


class TestBackground:
    def test_it_never_holds_more_than_a_quarter_of_the_slots(self):
        queue = Queue(8)
        queue.ask_many("b", 5, BACKGROUND)
        queue.ask("a")
        assert queue.granted == ["b0", "b1", "a"]

    def test_one_that_ends_makes_room_for_another(self):
        queue = Queue(8)
        first, *_ = queue.ask_many("b", 3, BACKGROUND)
        queue.slots.give_back(first)
        assert queue.granted == ["b0", "b1", "b2"]

    def test_one_call_may_go_however_low_the_limit(self):
        queue = Queue(1)
        queue.ask_many("b", 2, BACKGROUND)
        assert queue.granted == ["b0"]


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
        return limiter.slot(waiters or Waiters(Requester()), clock.monotonic() + seconds)

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
            async with limiter.slot(Waiters(Requester()), asked + 600):
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
