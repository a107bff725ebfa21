import asyncio
from random import Random

import pytest

from gateway.model import Kind
from gateway.sandbox.arming import Armed, Faults
from gateway.sandbox.faults import Fault, Hold, Lag, Reply, Where
from gateway.sandbox.journal import Call


def a_call(*ids: str, user: str = "ada") -> Call:
    return Call(1, "GET", "/", Kind.SONGS, user, ids, True, "", 0.0)


@pytest.fixture
def faults() -> Faults:
    return Faults(Random(1))


def waiting_calls(armed: Armed, count: int) -> list[asyncio.Future[None]]:
    return [asyncio.ensure_future(armed.wait()) for _ in range(count)]


def test_nothing_armed_strikes_nothing(faults):
    assert not faults
    assert faults.strike(a_call("1")) == ()


def test_every_fault_that_matches_strikes_in_the_order_added(faults):
    first, second = faults.add(Lag(1)), faults.add(Reply(500))
    faults.add(Reply(429), where=Where(user="ben"))
    assert faults.strike(a_call("1")) == (first, second)


def test_the_next_calls_are_struck_and_then_no_more(faults):
    armed = faults.add(Reply(429), times=2)
    assert [len(faults.strike(a_call("1"))) for _ in range(3)] == [1, 1, 0]
    assert armed.fired == 2


def test_chance_repeats_with_its_seed():
    def run(seed: int) -> list[int]:
        faults = Faults(Random(seed))
        faults.add(Reply(429), fraction=0.5)
        return [len(faults.strike(a_call("1"))) for _ in range(50)]

    assert run(3) == run(3) != run(4)
    assert 10 < sum(run(3)) < 40


def test_a_poisonous_id_spoils_every_call_that_holds_it(faults):
    faults.poison("2", status=400)
    assert [len(faults.strike(a_call(*ids))) for ids in (["1", "2"], ["2"], ["1"])] == [1, 1, 0]


def test_a_known_token_may_stand_for_its_label():
    faults = Faults(Random(1), known_as={"sandbox-user-ada": "ada"}.__getitem__)
    faults.arm(Fault(Lag(1), Where(user="sandbox-user-ada")))
    assert faults.strike(a_call("1"))


def test_a_removed_fault_strikes_no_more(faults):
    armed = faults.add(Lag(1))
    faults.remove(armed.id)
    assert faults.strike(a_call("1")) == ()
    with pytest.raises(KeyError):
        faults[armed.id]


def test_ids_are_never_used_twice(faults):
    first = faults.add(Lag(1)).id
    faults.clear()
    assert faults.add(Lag(1)).id != first


async def test_calls_wait_at_a_hold_until_they_are_released(faults):
    armed = faults.add(Hold())
    calls = waiting_calls(armed, 2)
    await armed.reached(2)
    assert not any(call.done() for call in calls)
    armed.release()
    await asyncio.gather(*calls)


async def test_whoever_comes_after_a_release_passes(faults):
    armed = faults.add(Hold())
    armed.release()
    await armed.wait()


async def test_calls_are_released_one_by_one_the_oldest_first(faults):
    armed = faults.add(Hold())
    first, second = waiting_calls(armed, 2)
    await armed.reached(2)
    armed.release(1)
    await first
    assert not second.done()
    assert armed.waiting == 1
    armed.release(5)
    await second


async def test_a_release_of_a_number_leaves_the_hold_shut(faults):
    armed = faults.add(Hold())
    armed.release(1)
    (call,) = waiting_calls(armed, 1)
    await armed.reached()
    armed.release()
    await call


async def test_a_cancelled_call_leaves_the_queue(faults):
    armed = faults.add(Hold())
    first, second = waiting_calls(armed, 2)
    await armed.reached(2)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert armed.waiting == 1
    armed.release(1)
    await second


async def test_a_call_that_was_cancelled_and_not_yet_told_is_passed_over(faults):
    armed = faults.add(Hold())
    (call,) = waiting_calls(armed, 1)
    await armed.reached()
    call.cancel()
    armed.release()
    assert isinstance((await asyncio.gather(call, return_exceptions=True))[0], asyncio.CancelledError)


async def test_disarming_lets_the_waiting_go(faults):
    armed = faults.add(Hold())
    calls = waiting_calls(armed, 2)
    await armed.reached(2)
    faults.clear()
    await asyncio.gather(*calls)
    assert not list(faults)
