import asyncio
from random import Random

import pytest

from gateway.model import Kind
from gateway.sandbox.arming import Armed, Faults
from gateway.sandbox.faults import CannedReply, Fault, Hold, Lag, Where
from gateway.sandbox.journal import RecordedCall


def a_call(*ids: str, user: str = "ada") -> RecordedCall:
    return RecordedCall(1, "GET", "/", Kind.SONGS, user, ids, True, "", 0.0)


@pytest.fixture
def faults() -> Faults:
    return Faults(Random(1))


def waiting_calls(armed: Armed, count: int) -> list[asyncio.Future[None]]:
    return [asyncio.ensure_future(armed.wait()) for _ in range(count)]


def test_without_faults_no_call_is_struck(faults):
    assert not faults
    assert faults.strike(a_call("1")) == ()


def test_all_matching_faults_strike_in_the_order_armed(faults):
    first, second = faults.add(Lag(1)), faults.add(CannedReply(500))
    faults.add(CannedReply(429), where=Where(user="ben"))
    assert faults.strike(a_call("1")) == (first, second)


def test_a_fault_strikes_a_limited_number_of_calls(faults):
    armed = faults.add(CannedReply(429), times=2)
    assert [len(faults.strike(a_call("1"))) for _ in range(3)] == [1, 1, 0]
    assert armed.fired == 2


def test_random_strikes_repeat_with_the_seed():
    def run(seed: int) -> list[int]:
        faults = Faults(Random(seed))
        faults.add(CannedReply(429), fraction=0.5)
        return [len(faults.strike(a_call("1"))) for _ in range(50)]

    assert run(3) == run(3) != run(4)
    assert 10 < sum(run(3)) < 40


def test_a_poisoned_id_fails_every_call_that_contains_it(faults):
    faults.poison("2", status=400)
    assert [len(faults.strike(a_call(*ids))) for ids in (["1", "2"], ["2"], ["1"])] == [1, 1, 0]


def test_a_user_may_be_named_by_token_or_label():
    faults = Faults(Random(1), known_as={"sandbox-user-ada": "ada"}.__getitem__)
    faults.arm(Fault(Lag(1), Where(user="sandbox-user-ada")))
    assert faults.strike(a_call("1"))


def test_a_disarmed_fault_no_longer_strikes(faults):
    armed = faults.add(Lag(1))
    faults.remove(armed.id)
    assert faults.strike(a_call("1")) == ()
    with pytest.raises(KeyError):
        faults[armed.id]


def test_ids_of_faults_are_never_reused(faults):
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


async def test_calls_after_a_release_do_not_wait(faults):
    armed = faults.add(Hold())
    armed.release()
    await armed.wait()


async def test_calls_are_released_oldest_first(faults):
    armed = faults.add(Hold())
    first, second = waiting_calls(armed, 2)
    await armed.reached(2)
    armed.release(1)
    await first
    assert not second.done()
    assert armed.waiting == 1
    armed.release(5)
    await second


async def test_releasing_some_calls_leaves_the_hold_armed(faults):
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


async def test_a_call_that_is_being_cancelled_is_not_released(faults):
    armed = faults.add(Hold())
    (call,) = waiting_calls(armed, 1)
    await armed.reached()
    call.cancel()
    armed.release()
    assert isinstance((await asyncio.gather(call, return_exceptions=True))[0], asyncio.CancelledError)


async def test_disarming_releases_waiting_calls(faults):
    armed = faults.add(Hold())
    calls = waiting_calls(armed, 2)
    await armed.reached(2)
    faults.clear()
    await asyncio.gather(*calls)
    assert not list(faults)
