"""Flights against a model: any order of joins, writes, landings, failures, departures and cancellations.

The model knows of every load when it began and whether it still runs, and of every waiter which writes it
knew of.
"""

import asyncio
from itertools import count
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.demand import Party
from gateway.errors import GatewayError, Relayed
from gateway.loading.waiter import Waiter
from gateway.model import PLAIN, Id, Kind, Lane, Shelf, User, Variant
from tests.loading.loads import Airfield, ids, quiet

SHELVES = [Shelf(User.of("alice"), Kind.ALBUMS, variant) for variant in (PLAIN, Variant("l=de"))]
IDS = ids(*range(4))
some_ids = st.lists(st.sampled_from(IDS), min_size=1, unique=True)


class Asked:
    """One join, as the model remembers it."""

    def __init__(self, waiter: Waiter, shelf: Shelf, wanted: list[Id], written: dict[Id, int]) -> None:
        self.waiter = waiter
        self.shelf = shelf
        self.wanted = wanted
        self.written = dict(written)
        self.left = False


class FlightsMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.moments = count()
        self.field = self.run(self._field())
        self.asked: list[Asked] = []
        self.written: dict[Id, int] = dict.fromkeys(IDS, -1)
        self.began: dict[int, int] = {}

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    async def _field(self) -> Airfield:
        return Airfield(size=3)

    async def _settle_down(self) -> None:
        await quiet()
        for number in range(len(self.began), len(self.field.loads)):
            self.began[number] = next(self.moments)

    def running(self) -> list[int]:
        return [n for n, load in enumerate(self.field.loads) if not load.result.done()]

    @rule(shelf=st.sampled_from(SHELVES), wanted=some_ids, lane=st.sampled_from(Lane), at_once=st.booleans())
    def join(self, shelf, wanted, lane, at_once):
        async def work() -> None:
            at = next(self.moments)
            waiter = self.field.flights.join(
                shelf,
                wanted,
                ticket=at,
                marks={id_: self.written[id_] for id_ in wanted},
                keep=True,
                lane=lane,
                party=Party(),
            )
            self.asked.append(Asked(waiter, shelf, wanted, self.written))
            if at_once:
                await self._settle_down()

        self.run(work())

    @rule(written=some_ids, told=st.booleans())
    def write(self, written, told):
        """A write is heard of here, or shows only in the marks that the next lookup brings."""
        for id_ in written:
            self.written[id_] = next(self.moments)
        if told:
            self.field.flights.detach(SHELVES[0].user.key, Kind.ALBUMS, written)

    @precondition(lambda self: self.running())
    @rule(data=st.data(), failing=st.booleans())
    def land(self, data, failing):
        number = data.draw(st.sampled_from(self.running()))
        load = self.field.loads[number]
        if failing:
            load.answer({id_: Relayed(500, b"") for id_ in load.ids})
        else:
            load.answer({id_: str(number).encode() for id_ in load.ids})
        self.run(self._settle_down())

    @precondition(lambda self: self.running())
    @rule(data=st.data())
    def break_down(self, data):
        self.field.loads[data.draw(st.sampled_from(self.running()))].fail(KeyError("a bug"))
        self.run(self._settle_down())

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def leave(self, data):
        asked = data.draw(st.sampled_from(self.asked))
        asked.waiter.leave()
        asked.left = True

    @rule()
    def settle_down(self):
        self.run(self._settle_down())

    @rule()
    def cancel_everything(self):
        self.run(self.field.tasks.cancel())
        self.run(self._settle_down())

    @invariant()
    def an_id_is_fetched_at_most_once_since_its_last_write(self):
        aloft = set()
        for number in self.running():
            load = self.field.loads[number]
            for id_ in load.ids:
                if self.began.get(number, -1) > self.written[id_]:
                    assert (load.shelf, id_) not in aloft
                    aloft.add((load.shelf, id_))

    @invariant()
    def nobody_is_answered_by_a_fetch_from_before_the_write_that_they_knew_of(self):
        for asked in self.asked:
            for id_, outcome in asked.waiter.outcomes.items():
                if isinstance(outcome, bytes):
                    load = self.field.loads[int(outcome)]
                    assert load.shelf == asked.shelf
                    assert self.began[int(outcome)] > asked.written[id_]

    @invariant()
    def what_is_stored_was_fetched_after_its_ticket_was_given_out(self):
        for _, ticket, resources in self.field.stored:
            for resource in resources.values():
                assert resource is not None
                assert self.began[int(resource)] > ticket

    def teardown(self):
        async def work() -> None:
            await self._settle_down()
            for number in self.running():
                self.field.loads[number].answer()
            await self._settle_down()
            self.field.flights.close()

        self.run(work())
        self.loop.close()
        for asked in self.asked:
            assert asked.left or sorted(asked.waiter.outcomes) == sorted(asked.wanted)
            assert all(
                outcome is None or isinstance(outcome, bytes | GatewayError)
                for outcome in asked.waiter.outcomes.values()
            )
        assert not any(self.field.flights.flying(shelf, id_) for shelf in SHELVES for id_ in IDS)


TestFlights = FlightsMachine.TestCase
TestFlights.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
