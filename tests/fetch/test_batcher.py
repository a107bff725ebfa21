"""How ids gather: by partition, for a moment, until a batch is full."""

import asyncio

import pytest

from gateway.fetch.batcher import Batch, Batcher, Flight
from gateway.fetch.pending import PendingFetch
from gateway.model import Id, Kind, Partition, Priority, User, Variant
from gateway.waiters import Requester
from tests.fetch.fake_loads import ALBUMS, ids

NEVER = 3600.0


class Ramp:
    """Collects the batches that depart."""

    def __init__(self, *, window: float = NEVER, size: int = 3) -> None:
        self.size = size
        self.departed: list[Batch] = []
        self.left = asyncio.Event()
        self.batches = Batcher(self._depart, window_seconds=window, size=lambda: self.size)

    def board(
        self,
        *names: object,
        partition: Partition = ALBUMS,
        priority: Priority = Priority.FOREGROUND,
        requester: Requester | None = None,
    ) -> dict[Id, Flight]:
        flights = {id_: Flight(PendingFetch(1, float), None, None, keep=True) for id_ in ids(*names)}
        self.batches.board(partition, flights, priority, requester or Requester())
        return flights

    def asked(self) -> list[list[str]]:
        return [list(batch.flights) for batch in self.departed]

    def _depart(self, batch: Batch) -> None:
        self.departed.append(batch)
        self.left.set()


@pytest.fixture
async def ramp():
    ramp = Ramp()
    yield ramp
    ramp.batches.close()


async def test_ids_gather_until_the_batch_is_full(ramp):
    ramp.board(1)
    ramp.board(2)
    assert ramp.departed == []
    ramp.board(3)
    assert ramp.asked() == [["1", "2", "3"]]
    assert ramp.departed[0].departed


async def test_ids_depart_when_the_window_ends():
    ramp = Ramp(window=0.0)
    ramp.board(1)
    assert ramp.departed == []
    async with asyncio.timeout(5):
        await ramp.left.wait()
    assert ramp.asked() == [["1"]]


async def test_many_ids_fill_several_batches_and_the_rest_waits_for_company(ramp):
    ramp.board(*range(8))
    assert ramp.asked() == [["0", "1", "2"], ["3", "4", "5"]]
    ramp.board(8)
    assert ramp.asked()[2:] == [["6", "7", "8"]]


async def test_a_full_batch_departs_once_though_its_window_ends_later():
    ramp = Ramp(window=0.0)
    ramp.board(1, 2, 3)
    ramp.board(4)
    async with asyncio.timeout(5):
        while len(ramp.departed) < 2:
            ramp.left.clear()
            await ramp.left.wait()
    assert ramp.asked() == [["1", "2", "3"], ["4"]]


@pytest.mark.parametrize(
    "other",
    [
        Partition(User.of("bob's token"), Kind.ALBUMS),
        Partition(ALBUMS.user, Kind.SONGS),
        Partition(ALBUMS.user, Kind.ALBUMS, Variant("l=de")),
    ],
)
async def test_users_kinds_and_variants_never_share_a_batch(ramp, other):
    ramp.board(1, 2)
    ramp.board(3, partition=other)
    assert ramp.departed == []


async def test_a_size_that_has_shrunk_holds_at_once(ramp):
    ramp.board(1)
    ramp.size = 2
    ramp.board(2, 3, 4, 5)
    assert ramp.asked() == [["1", "2"], ["3", "4"]]


async def test_every_flight_knows_its_batch(ramp):
    flights = ramp.board(1, 2, 3)
    assert {flight.batch for flight in flights.values()} == {ramp.departed[0]}


async def test_a_batch_is_wanted_by_everybody_who_boards(ramp):
    first, second = Requester(), Requester()
    ramp.board(1, priority=Priority.BACKGROUND, requester=first)
    ramp.board(2, 3, priority=Priority.FOREGROUND, requester=second)
    demand = ramp.departed[0].demand
    assert (demand.priority, demand.requesters) == (Priority.FOREGROUND, [second])


async def test_nobody_boards_with_nothing(ramp):
    first = Requester()
    ramp.board(1, requester=first)
    ramp.board()
    ramp.board(2, 3, requester=first)
    assert ramp.departed[0].demand.requesters == [first]


async def test_closing_hands_back_what_has_not_departed():
    ramp = Ramp(window=0.0)
    ramp.board(1, 2)
    (left,) = ramp.batches.close()
    await asyncio.sleep(0)
    assert list(left.flights) == ["1", "2"]
    assert ramp.departed == []
