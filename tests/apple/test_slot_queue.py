"""Which call gets a slot next: turns that are fair."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.apple.adaptive_limit import AdaptiveLimit
from gateway.apple.slot_queue import QueuedCall, SlotQueue
from gateway.errors import NoCapacity
from gateway.model import Priority
from gateway.waiters import Requester, Waiters

BACKGROUND = Priority.BACKGROUND


class Queue:
    """Slots, and the names of the calls that got one, in order."""

    def __init__(self, limit: int, *, longest: int = 100) -> None:
        self.limit = AdaptiveLimit(limit)
        self.slots = SlotQueue(self.limit, longest_queue=longest)
        self.granted: list[str] = []

    def ask(self, name: str, requester: Requester | None = None, user: bytes = b"ada") -> QueuedCall:
        return self.slots.ask(user, Waiters(requester or Requester()), lambda: self.granted.append(name))

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

    def test_users_take_turns_however_many_requests_one_has(self):
        queue = Queue(1)
        turn = queue.ask("ada0")
        waiting = {f"ada{number}": queue.ask(f"ada{number}") for number in range(1, 10)}
        waiting |= {name: queue.ask(name, user=b"ben") for name in ("ben0", "ben1")}
        for _ in range(5):
            queue.slots.give_back(turn)
            turn = waiting[queue.granted[-1]]
        assert queue.granted == ["ada0", "ada1", "ben0", "ada2", "ben1", "ada3"]

    def test_a_user_holds_no_more_than_a_quarter_while_others_wait(self):
        queue = Queue(8)
        calls = [queue.ask(f"ada{number}") for number in range(12)]
        queue.ask("ben", user=b"ben")
        for call in calls[:5]:
            queue.slots.give_back(call)
        assert queue.granted[8:] == ["ben", "ada8", "ada9", "ada10", "ada11"]

    def test_alone_a_user_may_have_every_slot(self):
        queue = Queue(4)
        for number in range(5):
            queue.ask(f"ada{number}")
        assert queue.granted == ["ada0", "ada1", "ada2", "ada3"]


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
