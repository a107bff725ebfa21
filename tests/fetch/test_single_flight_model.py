"""Flights against a model: any order of joins, writes, landings, failures, departures and cancellations.

The model knows of every load when it began and whether it still runs, and of every waiter which writes it
knew of.
"""

import asyncio
from itertools import count
from typing import Any, NamedTuple

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.errors import GatewayError, Relayed
from gateway.fetch.pending import PendingFetch
from gateway.model import PLAIN, Id, Kind, Partition, Priority, User, Variant
from gateway.waiters import Requester
from tests.fetch.fake_loads import Airfield, ids, quiet

PARTITIONS = [Partition(User.of("alice"), Kind.ALBUMS, variant) for variant in (PLAIN, Variant("l=de"))]
IDS = ids(*range(3))
some_ids = st.lists(st.sampled_from(IDS), min_size=1, unique=True)


class Join(NamedTuple):
    partition: Partition
    ids: list[Id]
    priority: Priority


class Write(NamedTuple):
    """A write is heard of here, or shows only in the marks that the next lookup brings."""

    ids: list[Id]
    told: bool


joins = st.builds(Join, st.sampled_from(PARTITIONS), some_ids, st.sampled_from(Priority))
writes = st.builds(Write, some_ids, st.booleans())


class Asked:
    """One join, as the model remembers it."""

    def __init__(
        self, waiter: PendingFetch, partition: Partition, wanted: list[Id], written: dict[Id, int]
    ) -> None:
        self.waiter = waiter
        self.partition = partition
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
        self.began: list[int] = []
        self.known: list[dict[tuple[Partition, Id], int]] = []
        """For each load: when its batch departed, and the last writes that its askers knew of until then."""
        self.last_known: dict[tuple[Partition, Id], int] = {}

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    async def _field(self) -> Airfield:
        return Airfield(size=2, on_departure=self._departs)

    def _departs(self) -> None:
        self.began.append(next(self.moments))
        self.known.append(dict(self.last_known))

    def running(self) -> list[int]:
        return [n for n, load in enumerate(self.field.loads) if not load.result.done()]

    @rule(steps=st.lists(joins | writes, min_size=1, max_size=3))
    def at_one_moment(self, steps):
        """Joins and writes between which nothing else runs: what is joined gathers until the last is done."""

        async def work() -> None:
            for step in steps:
                if isinstance(step, Join):
                    self.join(step)
                else:
                    self.write(step)
            await quiet()

        self.run(work())

    def join(self, step):
        self.last_known.update({(step.partition, id_): self.written[id_] for id_ in step.ids})
        waiter = self.field.flights.join(
            step.partition,
            step.ids,
            ticket=next(self.moments),
            marks={id_: self.written[id_] for id_ in step.ids},
            keep=True,
            priority=step.priority,
            requester=Requester(),
        )
        self.asked.append(Asked(waiter, step.partition, step.ids, self.written))

    def write(self, step):
        for id_ in step.ids:
            self.written[id_] = next(self.moments)
        if step.told:
            self.field.flights.detach(PARTITIONS[0].user.key, Kind.ALBUMS, step.ids)

    @precondition(lambda self: self.running())
    @rule(data=st.data(), how=st.sampled_from(["answer", "answer", "answer", "fail", "break", "cancel"]))
    def end(self, data, how):
        number = data.draw(st.sampled_from(self.running()))
        load = self.field.loads[number]
        if how == "answer":
            load.answer({id_: str(number).encode() for id_ in load.ids})
        elif how == "fail":
            load.answer({id_: Relayed(500, b"") for id_ in load.ids})
        elif how == "break":
            load.fail(KeyError("a bug"))
        else:
            self.run(self.field.tasks.cancel())
        self.run(quiet())

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def leave(self, data):
        asked = data.draw(st.sampled_from(self.asked))
        asked.waiter.leave()
        asked.left = True

    @invariant()
    def an_id_is_fetched_at_most_once_for_all_who_know_of_the_same_writes(self):
        loads = [(number, self.field.loads[number]) for number in self.running()]
        aloft = [
            (load.partition, id_, self.known[number][load.partition, id_])
            for number, load in loads
            for id_ in load.ids
        ]
        assert len(aloft) == len(set(aloft))

    @invariant()
    def nobody_is_answered_by_a_fetch_from_before_the_write_that_they_knew_of(self):
        for asked in self.asked:
            for id_, outcome in asked.waiter.outcomes.items():
                if isinstance(outcome, bytes):
                    load = self.field.loads[int(outcome)]
                    assert load.partition == asked.partition
                    assert self.began[int(outcome)] > asked.written[id_]

    @invariant()
    def what_is_stored_was_fetched_after_its_ticket_was_given_out(self):
        for _, ticket, resources in self.field.stored:
            for resource in resources.values():
                assert resource is not None
                assert self.began[int(resource)] > ticket

    def teardown(self):
        async def work() -> None:
            await quiet()
            for number in self.running():
                self.field.loads[number].answer()
            await quiet()
            self.field.flights.close()

        self.run(work())
        self.loop.close()
        for asked in self.asked:
            assert asked.left or sorted(asked.waiter.outcomes) == sorted(asked.wanted)
            assert all(
                outcome is None or isinstance(outcome, bytes | GatewayError)
                for outcome in asked.waiter.outcomes.values()
            )
        assert not any(self.field.flights.flying(partition, id_) for partition in PARTITIONS for id_ in IDS)


PHASES = (Phase.reuse, Phase.generate, Phase.shrink)
TestFlights = FlightsMachine.TestCase
TestFlights.settings = settings(max_examples=100, stateful_step_count=20, deadline=None, phases=PHASES)
