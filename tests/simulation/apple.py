"""Apple in virtual time: every state of an id is numbered, reads lag behind writes, calls fail at random."""

import asyncio
import random
from bisect import bisect_right
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import msgspec

from gateway.apple.client import AppleSuccess, Outbound
from gateway.errors import AppleError, GatewayError, Unreachable, UpstreamError
from gateway.model import Id, Kind, Partition, Rating, User
from gateway.riders import Riders
from gateway.waiters import Waiters

LONGEST_DELAY = 0.3
"""Longest duration of each half of a call, in seconds."""
LAG = 0.5
"""Seconds for which a read may still show the state before a write."""

Place = tuple[bytes, Kind, Id]
"""A user key, a kind and an id."""


class State(NamedTuple):
    since: float
    value: int | None


class Ratings:
    """Keeps every state of each id; a state's number is its index in the history."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.lag = chance.choice((0.0, LAG))
        self._history: dict[Place, list[State]] = {}
        self.written: dict[Place, list[int]] = {}
        """Numbers of the states that writes on the id itself made."""

    @property
    def states(self) -> int:
        """The number of states of all ids together."""
        return sum(len(history) for history in self._history.values())

    def history(self, place: Place) -> list[State]:
        return self._history.setdefault(place, [State(0.0, 1)])

    def number_at(self, place: Place, moment: float) -> int:
        """The number of the state at that moment."""
        return bisect_right(self.history(place), moment, key=lambda state: state.since) - 1

    def rate(self, place: Place, value: int | None) -> None:
        """Change a rating, and that of the paired id."""
        now = asyncio.get_running_loop().time()
        for each in (place, paired_place(place)):
            if each is not None:
                self.history(each).append(State(now, value))

    def write(self, place: Place, value: int | None) -> int:
        """Rate an id as Apple does, and return the number of its new state."""
        self.rate(place, value)
        number = len(self.history(place)) - 1
        self.written.setdefault(place, []).append(number)
        return number

    def shown(self, place: Place) -> bytes | None:
        """Return what a read gets now: the latest state, or within the lag an earlier one."""
        now = asyncio.get_running_loop().time()
        number = self.number_at(place, now - self._chance.choice((0.0, self._chance.uniform(0, self.lag))))
        return rendered(place, number, self.history(place)[number].value)


class SimulatedApple(Ratings):
    """Stands in for the client of Apple: fetches and writes take time, and some fail."""

    def __init__(
        self, chance: random.Random, *, failing: float, epoch_of: Callable[[Place], Hashable]
    ) -> None:
        """`epoch_of` changes when fetches in flight may no longer be joined; `failing` is a fraction."""
        super().__init__(chance)
        self._failing = failing
        self._fetching: dict[Place, list[Hashable]] = {}
        self._epoch_of = epoch_of
        self.doubled: list[Place] = []
        """Ids fetched twice at the same time, without an event between that voids the first fetch."""

    async def fetch(
        self,
        partition: Partition,
        ids: Sequence[Id],
        *,
        riders: Riders,
        waiters: Waiters,
        deadline: float,
    ) -> dict[Id, Rating | GatewayError]:
        ids = [*ids, *riders.ids]
        places = [(partition.user.key, partition.kind, id_) for id_ in ids]
        epochs = {place: self._epoch_of(place) for place in places}
        for place, epoch in epochs.items():
            under_way = self._fetching.setdefault(place, [])
            if epoch in under_way:
                self.doubled.append(place)
            under_way.append(epoch)
        try:
            await half_a_call(self._chance)
            if self._chance.random() < self._failing:
                riders.failed = True
                return dict.fromkeys(ids, Unreachable("It failed.", proxy_error="timeout", sent=True))
            shown = {place[2]: self.shown(place) for place in places}
            await half_a_call(self._chance)
            return dict(shown)
        finally:
            for place, epoch in epochs.items():
                self._fetching[place].remove(epoch)

    def write_refusal(self, user: User) -> None:
        """No user is refused without a call."""

    async def send(self, call: Outbound, deadline: float, waiters: Waiters) -> AppleSuccess | UpstreamError:
        await half_a_call(self._chance)
        fate = self._chance.random()
        if fate < self._failing / 2:
            return Unreachable("It failed.", proxy_error="timeout", sent=True)
        if fate < self._failing:
            return AppleError(400, b"{}")
        kind, id_ = call.path.split("/")[-2:]
        place = (call.user.key, Kind(kind), Id(id_))
        value = None if call.body is None else int(msgspec.json.decode(call.body)["attributes"]["value"])
        number = self.write(place, value)
        await half_a_call(self._chance)
        if fate < 1.5 * self._failing:
            return Unreachable("The answer was lost.", proxy_error="timeout", sent=True)
        body = b"" if value is None else b'{"data":[%b]}' % (rendered(place, number, value) or b"")
        return AppleSuccess(200 if value is not None else 204, body)


async def half_a_call(chance: random.Random) -> None:
    """Wait for as long as a request takes to Apple, or its answer back."""
    await asyncio.sleep(chance.choice((0.0, 0.0, 0.01, 0.01, chance.uniform(0, LONGEST_DELAY))))


def paired_place(place: Place) -> Place | None:
    """The paired id: the library's for the catalog's, and the reverse."""
    user_key, kind, id_ = place
    if kind.paired is None:
        return None
    return user_key, kind.paired, Id(id_.removeprefix("l.") if id_.startswith("l.") else f"l.{id_}")


def rendered(place: Place, number: int, value: int | None) -> bytes | None:
    """A resource that names its user and state; an unrated id has no resource."""
    if value is None:
        return None
    user_key, kind, id_ = place
    fields = {"id": id_, "type": "ratings", "attributes": {"value": value}}
    return msgspec.json.encode(fields | {"meta": {"user": user_key.hex(), "kind": kind, "number": number}})
