import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.fetch.batcher import PER_TURN, Batch, Batcher, Fetch
from gateway.fetch.wait import FetchWait
from gateway.model import Id, Kind, Partition, Priority, User, Variant
from gateway.waiters import Requester
from tests.e2e.clock_jumps import play
from tests.fetch.fake_loads import ALBUMS, FakeToken, ids

NEVER = 3600.0


class Batches:
    """Collects the batches that a batcher dispatches."""

    def __init__(self, *, window: float = NEVER, size: int = 3) -> None:
        self.size = size
        self.dispatched: list[Batch] = []
        self.times: list[float] = []
        self.batcher = Batcher(self._dispatch, window_seconds=window, size=lambda: self.size)
        self._one_more = asyncio.Condition()
        self._notifying: asyncio.Task[None] | None = None

    def add(
        self,
        *names: object,
        partition: Partition = ALBUMS,
        requester: Requester | None = None,
    ) -> dict[Id, Fetch]:
        fetches = {id_: Fetch([FetchWait(1, float)], None, FakeToken(), keep=True) for id_ in ids(*names)}
        self.batcher.add(partition, fetches, requester or Requester(), {})
        return fetches

    def asked(self) -> list[list[str]]:
        return [list(batch.fetches) for batch in self.dispatched]

    async def until(self, count: int) -> None:
        async with asyncio.timeout(5), self._one_more:
            await self._one_more.wait_for(lambda: len(self.dispatched) >= count)

    def _dispatch(self, batch: Batch) -> None:
        self.dispatched.append(batch)
        self.times.append(asyncio.get_running_loop().time())
        self._notifying = asyncio.ensure_future(self._notify())

    async def _notify(self) -> None:
        async with self._one_more:
            self._one_more.notify_all()


@pytest.fixture
async def batches() -> AsyncIterator[Batches]:
    batches = Batches()
    yield batches
    batches.batcher.close()


async def test_a_batch_is_dispatched_as_soon_as_it_is_full(batches):
    batches.add(1)
    batches.add(2)
    assert batches.dispatched == []
    batches.add(3)
    assert batches.asked() == [["1", "2", "3"]]
    assert batches.dispatched[0].dispatched


async def test_a_batch_is_dispatched_when_its_window_ends():
    batches = Batches(window=0.0)
    batches.add(1)
    assert batches.dispatched == []
    await batches.until(1)
    assert batches.asked() == [["1"]]


def test_ids_that_keep_coming_do_not_extend_the_window():
    async def dispatches() -> tuple[list[int], list[float]]:
        batches = Batches(window=0.005, size=100)
        began = asyncio.get_running_loop().time()
        for id_ in range(8):
            batches.add(id_)
            await asyncio.sleep(0.002)
        await batches.until(3)
        return [len(batch.fetches) for batch in batches.dispatched], [at - began for at in batches.times]

    sizes, seconds = play(dispatches())
    # Added at 0, 2, 4, …, 14 ms; each batch is dispatched 5 ms after its first id.
    assert sizes == [3, 3, 2]
    assert seconds == pytest.approx([0.005, 0.011, 0.017], abs=1e-6)


async def test_many_ids_fill_several_batches_and_the_rest_waits(batches):
    batches.add(*range(8))
    assert batches.asked() == [["0", "1", "2"], ["3", "4", "5"]]
    batches.add(8)
    assert batches.asked()[2:] == [["6", "7", "8"]]


def test_the_window_of_a_full_batch_does_not_shorten_the_next_one():
    async def dispatches() -> list[float]:
        batches = Batches(window=0.005)
        began = asyncio.get_running_loop().time()
        batches.add(1, 2, 3)
        await asyncio.sleep(0.003)
        batches.add(4)
        await batches.until(2)
        return [at - began for at in batches.times]

    assert play(dispatches()) == pytest.approx([0.0, 0.008], abs=1e-6)


@pytest.mark.parametrize(
    "other",
    [
        Partition(User.of("bob's token"), Kind.ALBUMS),
        Partition(ALBUMS.user, Kind.SONGS),
        Partition(ALBUMS.user, Kind.ALBUMS, Variant("l=de")),
    ],
    ids=["user", "type", "variant"],
)
async def test_partitions_never_share_a_batch(batches, other):
    batches.add(1, 2)
    batches.add(3, partition=other)
    assert batches.dispatched == []


async def test_a_smaller_size_applies_to_batches_that_are_gathering(batches):
    batches.add(1)
    batches.size = 2
    batches.add(2, 3, 4, 5)
    assert batches.asked() == [["1", "2"], ["3", "4"]]


async def test_every_fetch_has_its_batch(batches):
    fetches = batches.add(1, 2, 3)
    assert {fetch.batch for fetch in fetches.values()} == {batches.dispatched[0]}


async def test_a_foreground_request_raises_a_background_batch(batches):
    first = Requester()
    batches.add(1, requester=Requester(Priority.BACKGROUND))
    batches.add(2, 3, requester=first)
    waiters = batches.dispatched[0].waiters
    assert (waiters.priority, waiters.requesters) == (Priority.FOREGROUND, [first])


async def test_a_request_that_adds_no_ids_does_not_join_the_batch(batches):
    first = Requester()
    batches.add(1, requester=first)
    batches.add()
    batches.add(2, 3, requester=first)
    assert batches.dispatched[0].waiters.requesters == [first]


async def test_closing_returns_the_batches_that_were_not_dispatched():
    batches = Batches(window=0.0)
    batches.add(1, 2)
    (left,) = batches.batcher.close()
    await asyncio.sleep(0)
    assert list(left.fetches) == ["1", "2"]
    assert batches.dispatched == []


class TestPacing:
    """Few full batches are dispatched in one turn of the event loop."""

    async def test_a_large_request_dispatches_its_batches_in_order_over_several_turns(self, batches):
        count = 3 * PER_TURN
        batches.add(*range(batches.size * count))
        seen = [len(batches.dispatched)]
        while len(batches.dispatched) < count:
            await asyncio.sleep(0)
            seen.append(len(batches.dispatched))
        assert seen == [PER_TURN, 2 * PER_TURN, 3 * PER_TURN]
        assert [id_ for batch in batches.asked() for id_ in batch] == ids(*range(batches.size * count))

    async def test_requests_of_one_turn_share_its_bound(self, batches):
        for piece in range(PER_TURN + 1):
            batches.add(*range(3 * piece, 3 * piece + 3))
        assert len(batches.dispatched) == PER_TURN
        await asyncio.sleep(0)
        assert len(batches.dispatched) == PER_TURN + 1

    async def test_a_batch_whose_window_ends_does_not_wait_for_full_ones(self):
        batches = Batches(window=0.0)
        batches.add("small", partition=Partition(ALBUMS.user, Kind.SONGS))
        batches.add(*range(batches.size * 4 * PER_TURN))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert ["small"] in batches.asked()
        assert len(batches.dispatched) < 4 * PER_TURN
        batches.batcher.close()

    async def test_a_full_batch_may_be_joined_until_it_is_dispatched(self, batches):
        fetches = batches.add(*range(3 * PER_TURN + 3))
        last = fetches[Id(str(3 * PER_TURN + 2))].batch
        assert not last.dispatched
        await asyncio.sleep(0)
        assert last.dispatched

    async def test_closing_returns_full_batches_that_were_not_dispatched(self, batches):
        batches.add(*range(3 * PER_TURN + 4))
        left = batches.batcher.close()
        await asyncio.sleep(0)
        assert [len(batch.fetches) for batch in left] == [3, 1]
        assert len(batches.dispatched) == PER_TURN
