import asyncio
import threading
from collections.abc import Iterator

import pytest

from gateway.apple.answer_reader import LARGE_BODY, PER_TURN, AnswerReader
from gateway.apple.response import AppleResponse

SMALL = AppleResponse(200, b"{}")


@pytest.fixture
def reader() -> Iterator[AnswerReader]:
    with AnswerReader() as made:
        yield made


async def test_a_large_answer_is_read_in_a_thread_and_others_are_served_meanwhile(reader):
    served = threading.Event()

    def read(answer: AppleResponse) -> int:
        assert served.wait(5), "the event loop stood still"
        return len(answer.body)

    reading = asyncio.create_task(reader.read(read, AppleResponse(200, bytes(LARGE_BODY + 1))))
    await asyncio.sleep(0)
    served.set()
    assert await reading == LARGE_BODY + 1


async def test_a_small_answer_is_read_at_once(reader):
    assert await reader.read(lambda _: threading.current_thread(), SMALL) is threading.main_thread()


async def test_few_answers_are_read_in_one_turn_of_the_event_loop(reader):
    read = 0

    def count(_: AppleResponse) -> None:
        nonlocal read
        read += 1

    reading = [asyncio.create_task(reader.read(count, SMALL)) for _ in range(3 * PER_TURN)]
    seen = []
    while read < 3 * PER_TURN:
        await asyncio.sleep(0)
        seen.append(read)
    await asyncio.gather(*reading)
    assert max(after - before for before, after in zip([0, *seen], seen, strict=False)) <= PER_TURN


async def test_an_answer_that_cannot_be_read_raises(reader):
    def fail(_: AppleResponse) -> None:
        raise ValueError

    with pytest.raises(ValueError):
        await reader.read(fail, SMALL)
