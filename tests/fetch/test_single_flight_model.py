"""Single flight against a model: any order of joins, writes, results, failures, leaving and cancellations.

The model records when each load was dispatched and whether it is in flight, and for each join the earlier
writes that it had seen.
"""

import asyncio
from itertools import count
from typing import Any, NamedTuple

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.errors import AppleError, GatewayError
from gateway.fetch.wait import FetchWait
from gateway.model import PLAIN, Id, Kind, Partition, Priority, User, Variant
from gateway.waiters import Requester
from tests.fetch.fake_loads import FakeLoads, FakeToken, ids, quiet

PARTITIONS = [Partition(User.of("alice"), Kind.ALBUMS, variant) for variant in (PLAIN, Variant("l=de"))]
IDS = ids(*range(3))
some_ids = st.lists(st.sampled_from(IDS), min_size=1, unique=True)


class Join(NamedTuple):
    partition: Partition
    ids: list[Id]
    priority: Priority


class Write(NamedTuple):
    """A write that this process was notified of, or that shows only in the stamps of the next lookup."""

    ids: list[Id]
    notified: bool


joins = st.builds(Join, st.sampled_from(PARTITIONS), some_ids, st.sampled_from(Priority))
writes = st.builds(Write, some_ids, st.booleans())


class Joined:
    """One join, as the model records it."""

    def __init__(
        self, wait: FetchWait, partition: Partition, wanted: list[Id], written: dict[Id, int]
    ) -> None:
        self.wait = wait
        self.partition = partition
        self.wanted = wanted
        self.written = dict(written)
        self.left = False


class SingleFlightMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.moments = count()
        self.fake = self.run(self._fake())
        self.joined: list[Joined] = []
        self.written: dict[Id, int] = dict.fromkeys(IDS, -1)
        self.dispatched: list[int] = []
        """When each load was dispatched."""
        self.known: list[dict[tuple[Partition, Id], int]] = []
        """For each load: the latest writes that its requesters had seen when it was dispatched."""
        self.last_known: dict[tuple[Partition, Id], int] = {}

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    async def _fake(self) -> FakeLoads:
        return FakeLoads(size=2, on_dispatch=self._on_dispatch)

    def _on_dispatch(self) -> None:
        self.dispatched.append(next(self.moments))
        self.known.append(dict(self.last_known))

    def in_flight(self) -> list[int]:
        return [n for n, load in enumerate(self.fake.loads) if not load.result.done()]

    @rule(steps=st.lists(joins | writes, min_size=1, max_size=3))
    def at_one_moment(self, steps):
        """Joins and writes between which nothing else runs: joins gather in batches until the last step."""

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
        wait = self.fake.flights.join(
            step.partition,
            step.ids,
            token=FakeToken(name=next(self.moments), pending={id_: self.written[id_] for id_ in step.ids}),
            keep=True,
            requester=Requester(step.priority),
        )
        self.joined.append(Joined(wait, step.partition, step.ids, self.written))

    def write(self, step):
        for id_ in step.ids:
            self.written[id_] = next(self.moments)
        if step.notified:
            self.fake.flights.detach((PARTITIONS[0].user.key, Kind.ALBUMS), step.ids)

    @precondition(lambda self: self.in_flight())
    @rule(data=st.data(), how=st.sampled_from(["answer", "answer", "answer", "fail", "break", "cancel"]))
    def end(self, data, how):
        number = data.draw(st.sampled_from(self.in_flight()))
        load = self.fake.loads[number]
        if how == "answer":
            load.answer({id_: str(number).encode() for id_ in load.ids})
        elif how == "fail":
            load.answer({id_: AppleError(500, b"") for id_ in load.ids})
        elif how == "break":
            load.fail(KeyError("a bug"))
        else:
            self.run(self.fake.tasks.cancel())
        self.run(quiet())

    @precondition(lambda self: self.joined)
    @rule(data=st.data())
    def leave(self, data):
        joined = data.draw(st.sampled_from(self.joined))
        joined.wait.leave()
        joined.left = True

    @invariant()
    def an_id_is_fetched_once_at_a_time_for_all_requesters_that_know_of_the_same_writes(self):
        fetches = [
            (load.partition, id_, self.known[number][load.partition, id_])
            for number in self.in_flight()
            for load in [self.fake.loads[number]]
            for id_ in load.ids
        ]
        assert len(fetches) == len(set(fetches))

    @invariant()
    def no_requester_gets_the_result_of_a_call_that_began_before_a_write_it_knew_of(self):
        for joined in self.joined:
            for id_, result in joined.wait.results.items():
                if isinstance(result, bytes):
                    assert self.fake.loads[int(result)].partition == joined.partition
                    assert self.dispatched[int(result)] > joined.written[id_]

    @invariant()
    def a_result_is_stored_only_with_a_token_taken_before_its_call_began(self):
        for _, token, ratings in self.fake.stored:
            for rating in ratings.values():
                assert rating is not None
                assert self.dispatched[int(rating)] > token

    def teardown(self):
        async def work() -> None:
            await quiet()
            for number in self.in_flight():
                self.fake.loads[number].answer()
            await quiet()
            self.fake.flights.close()

        self.run(work())
        self.loop.close()
        for joined in self.joined:
            assert joined.left or sorted(joined.wait.results) == sorted(joined.wanted)
            assert all(
                result is None or isinstance(result, bytes | GatewayError)
                for result in joined.wait.results.values()
            )
        assert not any(self.fake.flights.in_flight(partition, id_) for partition in PARTITIONS for id_ in IDS)


PHASES = (Phase.reuse, Phase.generate, Phase.shrink)
TestSingleFlight = SingleFlightMachine.TestCase
TestSingleFlight.settings = settings(max_examples=100, stateful_step_count=20, deadline=None, phases=PHASES)
