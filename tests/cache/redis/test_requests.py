"""Requests of one batch: their deadlines are checked by one timer, and a late process reads replies first."""

import asyncio
import time
from collections import deque
from typing import Any

import pytest
from redis.exceptions import ResponseError

from gateway.cache.redis.errors import FailureKind, RedisFailed
from gateway.cache.redis.requests import TIMER_SECONDS, Deadlines, Replies, Request, SendBatch, micros
from tests.waiting import until


def request(timeout: float) -> Request:
    return Request(b"PING", 1, timeout, None, asyncio.get_running_loop().create_future())


class Batches:
    """Sent batches, and the timeouts of theirs that ended."""

    def __init__(self) -> None:
        self.sent: deque[SendBatch] = deque()
        self.ended: list[tuple[SendBatch, float]] = []
        self.deadlines = Deadlines(self.sent, self._on_timeout)

    def _on_timeout(self, batch: SendBatch, timeout: float) -> None:
        if batch.unread:
            self.ended.append((batch, timeout))

    def read_replies(self) -> None:
        self.sent.popleft().unread = False

    def send(self, *timeouts: float) -> SendBatch:
        batch = SendBatch([request(each) for each in timeouts], asyncio.get_running_loop().time())
        self.sent.append(batch)
        self.deadlines.watch(batch)
        return batch


async def test_each_timeout_of_a_batch_ends_once_and_the_shortest_first() -> None:
    batches = Batches()
    batch = batches.send(0.02, 0.01, 0.02)
    assert await until(lambda: len(batches.ended) == 2) >= 0.02 - TIMER_SECONDS
    assert batches.ended == [(batch, 0.01), (batch, 0.02)]


async def test_a_process_that_is_late_reads_replies_before_a_timeout_ends() -> None:
    batches = Batches()
    batch = batches.send(0.01)
    asyncio.get_running_loop().call_at(batch.sent_at + 0.011, batches.read_replies)
    time.sleep(0.03)  # noqa: ASYNC251 - the event loop is late for both the deadline and the replies
    await asyncio.sleep(0.02)
    assert batches.ended == []


async def test_a_later_batch_with_a_shorter_timeout_is_not_held_up() -> None:
    batches = Batches()
    batches.send(60.0)
    hasty = batches.send(0.01)
    await until(lambda: batches.ended == [(hasty, 0.01)])
    batches.deadlines.cancel()


async def test_a_batch_that_was_answered_has_no_deadlines() -> None:
    batches = Batches()
    batches.send(0.01)
    last = batches.send(0.02)
    batches.sent.popleft()
    await until(lambda: bool(batches.ended))
    assert batches.ended == [(last, 0.02)]


async def test_after_all_was_dropped_no_timeout_ends_until_the_next_batch() -> None:
    batches = Batches()
    batches.send(0.01)
    batches.sent.clear()
    batches.deadlines.cancel()
    batches.deadlines.cancel()
    following = batches.send(0.01)
    await until(lambda: bool(batches.ended))
    assert batches.ended == [(following, 0.01)]


async def test_a_request_fails_once_and_not_after_its_reply() -> None:
    failed, answered = request(1.0), request(1.0)
    answered.future.set_result(Replies(0, []))
    for _ in range(2):
        failed.fail(FailureKind.TIMEOUT)
        answered.fail(FailureKind.TIMEOUT)
    with pytest.raises(RedisFailed, match="timeout"):
        await failed.future
    assert await answered.future == Replies(0, [])


def test_the_first_error_reply_is_the_error_of_all() -> None:
    first, second = ResponseError("first"), ResponseError("second")
    assert Replies(0, [b"1", first, second]).error is first
    assert Replies(0, [b"1"]).error is None


@pytest.mark.parametrize("reply", [b"1", [], [b"1"], [b"1", 2], [None, None]])
def test_a_malformed_time_is_a_protocol_error(reply: Any) -> None:
    with pytest.raises(RedisFailed, match="protocol"):
        micros(reply)


def test_the_time_is_in_microseconds() -> None:
    assert micros([b"1700000000", b"500000"]) == 1_700_000_000_500_000
