"""Flights: an id is fetched at most once at a time, and every exit settles everybody who waits."""

import asyncio
import gc
from typing import Any

import pytest

from gateway.errors import DeadlineExceeded, GatewayError, NoCapacity, Relayed, Unreachable
from gateway.fetch.batcher import Flight
from gateway.fetch.pending import PendingFetch
from gateway.model import Id, Kind, Partition, Priority, User, Variant
from gateway.waiters import Requester
from tests.fetch.fake_loads import ALBUMS, USER, Airfield, ids, quiet, resource

FOREVER = float("inf")
ONE, TWO, THREE, FOUR = ids(1, 2, 3, 4)


def join(field: Airfield, *names: object, partition: Partition = ALBUMS, **more: Any) -> PendingFetch:
    asked: dict[str, Any] = {
        "ticket": "t",
        "marks": {},
        "keep": True,
        "priority": Priority.FOREGROUND,
        "requester": Requester(),
    }
    return field.flights.join(partition, ids(*names), **(asked | more))


@pytest.fixture
async def field():
    field = Airfield()
    yield field
    field.flights.close()
    await field.tasks.cancel()
    await quiet()


async def told(field: Airfield) -> dict[Id, Any]:
    waiter = join(field, 1)
    await waiter.wait(FOREVER)
    return waiter.outcomes


ANSWER_AT = 8


@pytest.mark.parametrize("leaver", [0, 1], ids=["leader", "follower"])
@pytest.mark.parametrize("step", range(ANSWER_AT + 6))
async def test_who_is_cancelled_at_any_step_takes_nobody_along(field, step, leaver):
    callers = [asyncio.ensure_future(told(field)) for _ in range(2)]
    for turn in range(ANSWER_AT + 6):
        if turn == ANSWER_AT:
            (await field.begun(1))[0].answer()
        if turn == step:
            callers[leaver].cancel()
        await asyncio.sleep(0)
    assert await callers[1 - leaver] == {ONE: resource(ONE)}
    await asyncio.gather(callers[leaver], return_exceptions=True)
    await quiet()
    assert (field.flights._table, len(field.tasks), field.bugs) == ({}, 0, [])


class TestOnce:
    async def test_overlapping_sets_fetch_only_what_is_not_in_flight(self, field):
        first = join(field, 1, 2, 3)
        await field.begun(1)
        second = join(field, 2, 3, 4)
        loads = await field.begun(2)
        assert field.asked() == [[ONE, TWO, THREE], [FOUR]]
        for load in loads:
            load.answer()
        await first.wait(FOREVER)
        await second.wait(FOREVER)
        assert first.outcomes == {id_: resource(id_) for id_ in (ONE, TWO, THREE)}
        assert second.outcomes == {id_: resource(id_) for id_ in (TWO, THREE, FOUR)}

    async def test_those_who_joined_are_counted(self, field):
        first = join(field, 1, 2, 3)
        second = join(field, 2, 3, 4)
        assert (first.collapsed, second.collapsed) == (0, 2)
        assert field.metrics.registry.get_sample_value("gateway_coalesced_ids_total") == 2.0

    async def test_callers_of_one_moment_share_one_call(self, field):
        waiters = [join(field, number) for number in range(50)]
        (load,) = await field.begun(1)
        load.answer()
        for waiter in waiters:
            await waiter.wait(FOREVER)
        assert len(load.ids) == 50
        assert [list(waiter.outcomes) for waiter in waiters] == [[id_] for id_ in ids(*range(50))]

    async def test_200_overlapping_callers_fetch_each_id_once(self, field):
        waiters = [join(field, *range(start, start + 20)) for start in range(200)]
        await quiet()
        aloft = [id_ for load in field.loads for id_ in load.ids]
        assert len(aloft) == len(set(aloft)) == 219
        assert len(field.loads) == 3
        for load in field.loads:
            load.answer()
        for waiter in waiters:
            await waiter.wait(FOREVER)
        assert all(len(waiter.outcomes) == 20 for waiter in waiters)

    async def test_what_has_landed_is_freed_without_the_garbage_collector(self, field):
        gc.collect()
        gc.disable()
        try:
            waiter = join(field, 1, 2, 3)
            (load,) = await field.begun(1)
            load.answer()
            await waiter.wait(FOREVER)
            assert not any(isinstance(each, Flight) for each in gc.get_objects())
        finally:
            gc.enable()

    async def test_once_landed_an_id_is_fetched_anew(self, field):
        waiter = join(field, 1)
        (load,) = await field.begun(1)
        assert field.flights.flying(ALBUMS, ONE)
        load.answer()
        await waiter.wait(FOREVER)
        assert not field.flights.flying(ALBUMS, ONE)
        join(field, 1)
        await field.begun(2)

    @pytest.mark.parametrize(
        "other",
        [
            Partition(User.of("bob"), Kind.ALBUMS),
            Partition(USER, Kind.SONGS),
            Partition(USER, Kind.ALBUMS, Variant("l=de")),
        ],
    )
    async def test_users_kinds_and_variants_share_nothing(self, field, other):
        join(field, 1)
        join(field, 1, partition=other)
        loads = await field.begun(2)
        assert [load.partition for load in loads] == [ALBUMS, other]


class TestDepartures:
    async def test_the_first_caller_killed_in_mid_flight_takes_nobody_along(self, field):
        first, second = join(field, 1), join(field, 1)
        (load,) = await field.begun(1)
        waiting = asyncio.create_task(first.wait(FOREVER))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        first.leave()
        load.answer()
        await second.wait(FOREVER)
        assert second.outcomes == {ONE: resource(ONE)}
        assert first.outcomes == {}

    async def test_when_the_last_one_leaves_the_fetch_still_fills_the_cache(self, field):
        waiter = join(field, 1)
        (load,) = await field.begun(1)
        await waiter.wait(field.clock.monotonic())
        waiter.leave()
        load.answer()
        await quiet()
        assert field.stored == [(ALBUMS, "t", {ONE: resource(ONE)})]

    async def test_a_fetch_has_a_deadline_of_its_own(self, field):
        join(field, 1)
        (load,) = await field.begun(1)
        assert load.deadline == field.clock.monotonic() + 10.0


class TestLanding:
    async def test_it_is_stored_before_anybody_is_told_and_leaves_the_table_in_the_same_step(self, field):
        seen: list[tuple[int, bool]] = []

        class Spy(PendingFetch):
            __slots__ = ()

            def settle(self, id_, outcome):
                seen.append((len(field.stored), field.flights.flying(ALBUMS, id_)))
                super().settle(id_, outcome)

        waiter = join(field, 1)
        (load,) = await field.begun(1)
        waiter.__class__ = Spy
        load.answer()
        await waiter.wait(FOREVER)
        assert seen == [(1, False)]

    async def test_unrated_is_stored_and_failures_are_not(self, field):
        waiter = join(field, 1, 2, 3)
        (load,) = await field.begun(1)
        failure = Relayed(500, b"")
        load.answer({ONE: None, TWO: failure, THREE: b"x"})
        await waiter.wait(FOREVER)
        assert field.stored == [(ALBUMS, "t", {ONE: None, THREE: b"x"})]
        assert waiter.outcomes == {ONE: None, TWO: failure, THREE: b"x"}

    async def test_each_asker_s_ids_are_stored_under_its_own_ticket(self, field):
        join(field, 1, 2, ticket="early")
        waiter = join(field, 3, ticket="late")
        (load,) = await field.begun(1)
        load.answer()
        await waiter.wait(FOREVER)
        assert field.stored == [
            (ALBUMS, "early", {ONE: resource(ONE), TWO: resource(TWO)}),
            (ALBUMS, "late", {THREE: resource(THREE)}),
        ]

    async def test_what_nobody_lets_be_kept_is_not_stored(self, field):
        waiter = join(field, 1, keep=False)
        (load,) = await field.begun(1)
        load.answer()
        await waiter.wait(FOREVER)
        assert field.stored == []

    async def test_one_who_lets_it_be_kept_is_enough(self, field):
        join(field, 1, keep=False, ticket="first")
        (load,) = await field.begun(1)
        waiter = join(field, 1, keep=True, ticket="second")
        load.answer()
        await waiter.wait(FOREVER)
        assert field.stored == [(ALBUMS, "first", {ONE: resource(ONE)})]


class TestExits:
    async def test_a_failed_load_settles_everybody_with_its_failure(self, field):
        waiters = [join(field, 1), join(field, 1, 2)]
        (load,) = await field.begun(1)
        failure = Unreachable("gone", proxy_error="connection_terminated", sent=True)
        load.fail(failure)
        for waiter in waiters:
            await waiter.wait(FOREVER)
        assert [list(waiter.outcomes.values()) for waiter in waiters] == [[failure], [failure, failure]]
        assert not field.flights.flying(ALBUMS, ONE)

    async def test_a_bug_in_the_load_settles_everybody_and_is_reported(self, field):
        waiter = join(field, 1)
        (load,) = await field.begun(1)
        bug = KeyError("x")
        load.fail(bug)
        await waiter.wait(FOREVER)
        assert isinstance(waiter.outcomes[ONE], GatewayError)
        assert field.bugs == [bug]

    async def test_an_id_that_the_load_left_out_is_settled_too(self, field):
        waiter = join(field, 1, 2)
        (load,) = await field.begun(1)
        load.answer({ONE: None})
        await waiter.wait(FOREVER)
        assert waiter.outcomes[ONE] is None
        assert isinstance(waiter.outcomes[TWO], GatewayError)
        assert field.stored == [(ALBUMS, "t", {ONE: None})]

    async def test_a_cancelled_load_settles_everybody(self, field):
        waiter = join(field, 1)
        await field.begun(1)
        await field.tasks.cancel()
        await waiter.wait(FOREVER)
        assert isinstance(waiter.outcomes[ONE], NoCapacity)

    async def test_a_load_cancelled_before_its_first_step_settles_everybody(self, field):
        field.size = 1
        waiter = join(field, 1)
        assert len(field.tasks) == 1
        await field.tasks.cancel()
        assert field.loads == []
        await waiter.wait(FOREVER)
        assert isinstance(waiter.outcomes[ONE], NoCapacity)

    async def test_closing_settles_what_only_gathered(self):
        field = Airfield(window=3600.0)
        waiter = join(field, 1)
        field.flights.close()
        await waiter.wait(FOREVER)
        assert isinstance(waiter.outcomes[ONE], NoCapacity)
        assert not field.flights.flying(ALBUMS, ONE)

    async def test_a_load_that_ignores_its_deadline_is_ended(self):
        field = Airfield(fetch_seconds=-1.0)
        waiter = join(field, 1)
        await waiter.wait(FOREVER)
        assert isinstance(waiter.outcomes[ONE], DeadlineExceeded)
        assert not field.flights.flying(ALBUMS, ONE)

    async def test_a_store_that_fails_settles_everybody_all_the_same(self, field):
        reported: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        waiter = join(field, 1)
        (load,) = await field.begun(1)
        field.stored = None  # the store's append now fails
        load.answer()
        await waiter.wait(FOREVER)
        assert waiter.outcomes == {ONE: resource(ONE)}
        assert not field.flights.flying(ALBUMS, ONE)
        assert len(reported) == 1


class TestMarks:
    async def test_an_id_with_another_mark_is_not_joined_but_fetched_anew(self, field):
        early = join(field, 1, marks={ONE: b"before"})
        await field.begun(1)
        late = join(field, 1, marks={ONE: b"after"})
        before, after = await field.begun(2)
        after.answer({ONE: b"new"})
        await late.wait(FOREVER)
        assert field.flights.flying(ALBUMS, ONE) is False
        before.answer({ONE: b"old"})
        await early.wait(FOREVER)
        assert (early.outcomes, late.outcomes) == ({ONE: b"old"}, {ONE: b"new"})

    async def test_the_older_flight_does_not_take_the_younger_one_from_the_table(self, field):
        early = join(field, 1)
        await field.begun(1)
        join(field, 1, marks={ONE: b"x"})
        before, _ = await field.begun(2)
        before.answer()
        await early.wait(FOREVER)
        assert field.flights.flying(ALBUMS, ONE)
        assert join(field, 1, marks={ONE: b"x"}).collapsed == 1

    async def test_an_equal_mark_is_joined(self, field):
        join(field, 1, marks={ONE: b"x"})
        await field.begun(1)
        assert join(field, 1, marks={ONE: b"x"}).collapsed == 1

    async def test_what_only_gathers_is_joined_whatever_the_mark_and_kept_for_the_latest(self, field):
        first = join(field, 1, ticket="old")
        second = join(field, 1, marks={ONE: b"x"}, ticket="new")
        (load,) = await field.begun(1)
        assert join(field, 1, marks={ONE: b"x"}).collapsed == 1
        load.answer()
        await first.wait(FOREVER)
        await second.wait(FOREVER)
        assert field.stored == [(ALBUMS, "new", {ONE: resource(ONE)})]

    async def test_one_who_keeps_nothing_does_not_spoil_the_ticket_of_one_who_does(self, field):
        join(field, 1, ticket="keeps")
        waiter = join(field, 1, ticket="does not", keep=False)
        (load,) = await field.begun(1)
        load.answer()
        await waiter.wait(FOREVER)
        assert field.stored == [(ALBUMS, "keeps", {ONE: resource(ONE)})]


class TestDetach:
    async def test_what_is_under_way_can_no_longer_be_joined_but_runs_on(self, field):
        early = join(field, 1, 2)
        await field.begun(1)
        field.flights.detach(USER.key, Kind.ALBUMS, [ONE, Id("unknown")])
        late = join(field, 1, 2)
        before, after = await field.begun(2)
        assert after.ids == [ONE]
        assert late.collapsed == 1
        after.answer({ONE: b"new"})
        before.answer()
        await early.wait(FOREVER)
        await late.wait(FOREVER)
        assert early.outcomes == {ONE: resource(ONE), TWO: resource(TWO)}
        assert late.outcomes == {ONE: b"new", TWO: resource(TWO)}

    async def test_it_reaches_every_variant(self, field):
        fuller = Partition(USER, Kind.ALBUMS, Variant("include=content"))
        join(field, 1)
        join(field, 1, partition=fuller)
        await field.begun(2)
        field.flights.detach(USER.key, Kind.ALBUMS, [ONE])
        assert not field.flights.flying(ALBUMS, ONE)
        assert not field.flights.flying(fuller, ONE)

    async def test_all_ids_of_a_kind(self, field):
        songs = Partition(USER, Kind.SONGS)
        join(field, 1, 2)
        join(field, 1, partition=songs)
        await field.begun(2)
        field.flights.detach(USER.key, Kind.ALBUMS, None)
        assert [field.flights.flying(ALBUMS, id_) for id_ in (ONE, TWO)] == [False, False]
        assert field.flights.flying(songs, ONE)

    async def test_all_kinds_of_a_user_and_of_no_other(self, field):
        songs, other = Partition(USER, Kind.SONGS), Partition(User.of("bob"), Kind.ALBUMS)
        for partition in (ALBUMS, songs, other):
            join(field, 1, partition=partition)
        await field.begun(3)
        field.flights.detach(USER.key, None, None)
        assert [field.flights.flying(partition, ONE) for partition in (ALBUMS, songs, other)] == [
            False,
            False,
            True,
        ]

    async def test_what_only_gathers_stays_because_its_call_begins_later(self, field):
        join(field, 1)
        field.flights.detach(USER.key, Kind.ALBUMS, None)
        assert join(field, 1).collapsed == 1


class TestLanes:
    async def test_a_background_flight_that_somebody_waits_for_is_promoted(self, field):
        join(field, 1, priority=Priority.BACKGROUND)
        (load,) = await field.begun(1)
        assert load.demand.priority is Priority.BACKGROUND
        requester = Requester()
        join(field, 1, priority=Priority.FOREGROUND, requester=requester)
        assert (load.demand.priority, load.demand.requesters) == (Priority.FOREGROUND, [requester])

    async def test_a_background_asker_does_not_lower_it(self, field):
        requester = Requester()
        join(field, 1, requester=requester)
        (load,) = await field.begun(1)
        join(field, 1, priority=Priority.BACKGROUND)
        assert (load.demand.priority, load.demand.requesters) == (Priority.FOREGROUND, [requester])

    async def test_everybody_who_waits_is_a_party_to_the_call(self, field):
        first, second = Requester(), Requester()
        join(field, 1, requester=first)
        (load,) = await field.begun(1)
        join(field, 1, requester=second)
        join(field, 1, requester=second)
        assert load.demand.requesters == [first, second]
