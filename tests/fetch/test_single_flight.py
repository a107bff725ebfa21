import asyncio
import gc
from collections.abc import AsyncIterator, Hashable, Mapping, Sequence
from typing import Any

import pytest

from gateway.errors import AppleError, DeadlineExceeded, GatewayError, NoCapacity, Unreachable
from gateway.fetch.batcher import Fetch
from gateway.fetch.wait import FetchWait
from gateway.model import Id, Kind, Partition, Priority, User, Variant
from gateway.riders import TOPPED_UP_IDS
from gateway.waiters import Requester
from tests.fetch.fake_loads import ALBUMS, USER, FakeLoads, FakeToken, ids, quiet, rating
from tests.waiting import other_tasks

FOREVER = float("inf")
ONE, TWO, THREE, FOUR = ids(1, 2, 3, 4)


def join(
    fake: FakeLoads,
    *names: object,
    partition: Partition = ALBUMS,
    token: object = "t",
    stamps: Mapping[Id, Hashable] | None = None,
    keep: bool = True,
    requester: Requester | None = None,
    due: Sequence[Id] = (),
) -> FetchWait:
    return fake.flights.join(
        partition,
        ids(*names),
        token=FakeToken(name=token, pending=stamps or {}),
        keep=keep,
        requester=requester or Requester(),
        due=due,
    )


@pytest.fixture
async def fake() -> AsyncIterator[FakeLoads]:
    fake = FakeLoads()
    yield fake
    fake.flights.close()
    await fake.tasks.cancel()
    await quiet()


class TestSharing:
    async def test_overlapping_sets_fetch_only_the_ids_not_in_flight(self, fake):
        first = join(fake, 1, 2, 3)
        await fake.begun(1)
        second = join(fake, 2, 3, 4)
        loads = await fake.begun(2)
        assert fake.asked() == [[ONE, TWO, THREE], [FOUR]]
        for load in loads:
            load.answer()
        await first.until(FOREVER)
        await second.until(FOREVER)
        assert first.results == {id_: rating(id_) for id_ in (ONE, TWO, THREE)}
        assert second.results == {id_: rating(id_) for id_ in (TWO, THREE, FOUR)}

    async def test_joined_ids_are_counted(self, fake):
        first = join(fake, 1, 2, 3)
        second = join(fake, 2, 3, 4)
        assert (first.collapsed, second.collapsed) == (0, 2)
        assert fake.metrics.registry.get_sample_value("gateway_coalesced_ids_total") == 2.0

    @pytest.mark.parametrize("failing", [0, 1])
    async def test_a_request_sees_the_failed_try_of_every_call_that_fetches_for_it(self, fake, failing):
        join(fake, 1)
        await fake.begun(1)
        wait = join(fake, 1, 2)
        loads = await fake.begun(2)
        assert wait.failure is None
        loads[failing].waiters.failure = AppleError(503, b"")
        assert wait.failure is loads[failing].waiters.failure

    async def test_concurrent_requests_share_one_call(self, fake):
        requests = [join(fake, number) for number in range(50)]
        (load,) = await fake.begun(1)
        load.answer()
        for wait in requests:
            await wait.until(FOREVER)
        assert len(load.ids) == 50
        assert [list(wait.results) for wait in requests] == [[id_] for id_ in ids(*range(50))]

    async def test_200_overlapping_requests_fetch_each_id_once(self, fake):
        requests = [join(fake, *range(start, start + 20)) for start in range(200)]
        await quiet()
        in_flight = [id_ for load in fake.loads for id_ in load.ids]
        assert len(in_flight) == len(set(in_flight)) == 219
        assert len(fake.loads) == 3
        for load in fake.loads:
            load.answer()
        for wait in requests:
            await wait.until(FOREVER)
        assert all(len(wait.results) == 20 for wait in requests)

    async def test_completed_fetches_are_freed_without_the_garbage_collector(self, fake):
        gc.collect()
        gc.disable()
        try:
            wait = join(fake, 1, 2, 3)
            (load,) = await fake.begun(1)
            load.answer()
            await wait.until(FOREVER)
            assert not any(isinstance(each, Fetch) for each in gc.get_objects())
        finally:
            gc.enable()

    async def test_a_completed_id_is_fetched_anew(self, fake):
        wait = join(fake, 1)
        (load,) = await fake.begun(1)
        assert fake.flights.in_flight(ALBUMS, ONE)
        load.answer()
        await wait.until(FOREVER)
        assert not fake.flights.in_flight(ALBUMS, ONE)
        join(fake, 1)
        await fake.begun(2)

    @pytest.mark.parametrize(
        "other",
        [
            Partition(User.of("bob"), Kind.ALBUMS),
            Partition(USER, Kind.SONGS),
            Partition(USER, Kind.ALBUMS, Variant("l=de")),
        ],
        ids=["user", "type", "variant"],
    )
    async def test_partitions_share_no_fetch(self, fake, other):
        join(fake, 1)
        join(fake, 1, partition=other)
        assert [load.partition for load in await fake.begun(2)] == [ALBUMS, other]


ANSWERED_AT = 8


class TestLeaving:
    @pytest.mark.parametrize("leaver", [0, 1], ids=["the first", "the second"])
    @pytest.mark.parametrize("step", range(ANSWERED_AT + 6))
    async def test_cancelling_one_request_at_any_step_does_not_affect_the_other(self, fake, step, leaver):
        async def read() -> dict[Id, Any]:
            wait = join(fake, 1)
            await wait.until(FOREVER)
            return wait.results

        requests = [asyncio.ensure_future(read()) for _ in range(2)]
        for turn in range(ANSWERED_AT + 6):
            if turn == ANSWERED_AT:
                (await fake.begun(1))[0].answer()
            if turn == step:
                requests[leaver].cancel()
            await asyncio.sleep(0)
        assert await requests[1 - leaver] == {ONE: rating(ONE)}
        await asyncio.gather(requests[leaver], return_exceptions=True)
        await quiet()
        assert not fake.flights.in_flight(ALBUMS, ONE)
        assert (other_tasks(), fake.bugs) == (set(), [])

    async def test_a_request_that_leaves_receives_nothing_and_the_others_do(self, fake):
        first, second = join(fake, 1), join(fake, 1)
        (load,) = await fake.begun(1)
        first.leave()
        load.answer()
        await second.until(FOREVER)
        assert second.results == {ONE: rating(ONE)}
        assert first.results == {}

    async def test_the_result_is_stored_although_every_request_left(self, fake):
        wait = join(fake, 1)
        (load,) = await fake.begun(1)
        await wait.until(fake.clock.monotonic())
        wait.leave()
        load.answer()
        await quiet()
        assert fake.stored == [(ALBUMS, "t", {ONE: rating(ONE)})]

    async def test_a_load_has_its_own_deadline(self, fake):
        join(fake, 1)
        (load,) = await fake.begun(1)
        assert load.deadline == fake.clock.monotonic() + 10.0


class TestCompletion:
    async def test_a_result_is_stored_before_any_request_receives_it(self, fake):
        wait = join(fake, 1)
        (load,) = await fake.begun(1)
        received: list[dict[Id, Any]] = []
        fake.before_store = lambda: received.append(dict(wait.results))
        load.answer()
        await wait.until(FOREVER)
        assert received == [{}]

    async def test_an_id_is_stored_and_leaves_the_table_in_one_step_of_the_event_loop(self, fake):
        join(fake, 1)
        (load,) = await fake.begun(1)
        load.answer()
        states = set()
        for _ in range(10):
            states.add((fake.flights.in_flight(ALBUMS, ONE), len(fake.stored)))
            await asyncio.sleep(0)
        assert states == {(True, 0), (False, 1)}

    async def test_unrated_ids_are_stored_and_failures_are_not(self, fake):
        wait = join(fake, 1, 2, 3)
        (load,) = await fake.begun(1)
        failure = AppleError(500, b"")
        load.answer({ONE: None, TWO: failure, THREE: 1})
        await wait.until(FOREVER)
        assert fake.stored == [(ALBUMS, "t", {ONE: None, THREE: 1})]
        assert wait.results == {ONE: None, TWO: failure, THREE: 1}

    async def test_ids_are_stored_with_the_token_of_the_request_that_added_them(self, fake):
        join(fake, 1, 2, token="early")
        wait = join(fake, 3, token="late")
        (load,) = await fake.begun(1)
        load.answer()
        await wait.until(FOREVER)
        assert fake.stored == [
            (ALBUMS, "early", {ONE: rating(ONE), TWO: rating(TWO)}),
            (ALBUMS, "late", {THREE: rating(THREE)}),
        ]

    async def test_results_that_no_request_lets_be_kept_are_not_stored(self, fake):
        wait = join(fake, 1, keep=False)
        (load,) = await fake.begun(1)
        load.answer()
        await wait.until(FOREVER)
        assert fake.stored == []

    async def test_one_request_that_allows_it_is_enough_to_store_a_result(self, fake):
        join(fake, 1, keep=False, token="first")
        (load,) = await fake.begun(1)
        wait = join(fake, 1, keep=True, token="second")
        load.answer()
        await wait.until(FOREVER)
        assert fake.stored == [(ALBUMS, "first", {ONE: rating(ONE)})]


class TestFailure:
    async def test_every_request_receives_the_failure_of_its_load(self, fake):
        requests = [join(fake, 1), join(fake, 1, 2)]
        (load,) = await fake.begun(1)
        failure = Unreachable("gone", proxy_error="connection_terminated", sent=True)
        load.fail(failure)
        for wait in requests:
            await wait.until(FOREVER)
        assert [list(wait.results.values()) for wait in requests] == [[failure], [failure, failure]]
        assert not fake.flights.in_flight(ALBUMS, ONE)

    async def test_a_bug_in_a_load_fails_its_requests_and_is_reported(self, fake):
        wait = join(fake, 1)
        (load,) = await fake.begun(1)
        bug = KeyError("x")
        load.fail(bug)
        await wait.until(FOREVER)
        assert isinstance(wait.results[ONE], GatewayError)
        assert fake.bugs == [bug]

    async def test_an_id_missing_from_the_result_fails_alone(self, fake):
        wait = join(fake, 1, 2)
        (load,) = await fake.begun(1)
        load.answer({ONE: None})
        await wait.until(FOREVER)
        assert wait.results[ONE] is None
        assert isinstance(wait.results[TWO], GatewayError)
        assert fake.stored == [(ALBUMS, "t", {ONE: None})]

    async def test_a_cancelled_load_fails_its_requests(self, fake):
        wait = join(fake, 1)
        await fake.begun(1)
        await fake.tasks.cancel()
        await wait.until(FOREVER)
        assert isinstance(wait.results[ONE], NoCapacity)

    async def test_a_load_cancelled_before_its_first_step_fails_its_requests(self, fake):
        fake.size = 1
        wait = join(fake, 1)
        assert len(other_tasks()) == 1
        await fake.tasks.cancel()
        assert fake.loads == []
        await wait.until(FOREVER)
        assert isinstance(wait.results[ONE], NoCapacity)

    async def test_closing_fails_the_requests_of_batches_that_gather(self):
        fake = FakeLoads(window=3600.0)
        wait = join(fake, 1)
        fake.flights.close()
        await wait.until(FOREVER)
        assert isinstance(wait.results[ONE], NoCapacity)
        assert not fake.flights.in_flight(ALBUMS, ONE)

    async def test_a_load_that_ignores_its_deadline_is_cancelled(self):
        fake = FakeLoads(fetch_seconds=-1.0)
        wait = join(fake, 1)
        await wait.until(FOREVER)
        assert isinstance(wait.results[ONE], DeadlineExceeded)
        assert not fake.flights.in_flight(ALBUMS, ONE)

    async def test_requests_are_answered_although_the_store_failed(self, fake):
        reported: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        wait = join(fake, 1)
        (load,) = await fake.begun(1)
        bug = KeyError("x")

        def break_store() -> None:
            raise bug

        fake.before_store = break_store
        load.answer()
        await wait.until(FOREVER)
        assert wait.results == {ONE: rating(ONE)}
        assert not fake.flights.in_flight(ALBUMS, ONE)
        assert [context["exception"] for context in reported] == [bug]


class TestStamps:
    async def test_an_id_with_another_stamp_is_fetched_anew(self, fake):
        early = join(fake, 1, stamps={ONE: b"before"})
        await fake.begun(1)
        late = join(fake, 1, stamps={ONE: b"after"})
        before, after = await fake.begun(2)
        after.answer({ONE: 1})
        await late.until(FOREVER)
        assert not fake.flights.in_flight(ALBUMS, ONE)
        before.answer({ONE: -1})
        await early.until(FOREVER)
        assert (early.results, late.results) == ({ONE: -1}, {ONE: 1})

    async def test_completing_the_older_fetch_leaves_the_newer_one_in_flight(self, fake):
        early = join(fake, 1)
        await fake.begun(1)
        join(fake, 1, stamps={ONE: b"x"})
        before, _ = await fake.begun(2)
        before.answer()
        await early.until(FOREVER)
        assert fake.flights.in_flight(ALBUMS, ONE)
        assert join(fake, 1, stamps={ONE: b"x"}).collapsed == 1

    async def test_a_fetch_with_an_equal_stamp_is_joined(self, fake):
        join(fake, 1, stamps={ONE: b"x"})
        await fake.begun(1)
        assert join(fake, 1, stamps={ONE: b"x"}).collapsed == 1

    async def test_a_gathering_fetch_takes_over_the_stamp_and_token_of_the_latest_request(self, fake):
        first = join(fake, 1, token="old")
        second = join(fake, 1, stamps={ONE: b"x"}, token="new")
        (load,) = await fake.begun(1)
        assert join(fake, 1, stamps={ONE: b"x"}).collapsed == 1
        load.answer()
        await first.until(FOREVER)
        await second.until(FOREVER)
        assert fake.stored == [(ALBUMS, "new", {ONE: rating(ONE)})]

    async def test_a_request_that_stores_nothing_does_not_replace_the_token_of_one_that_does(self, fake):
        join(fake, 1, token="stores")
        wait = join(fake, 1, token="does not", keep=False)
        (load,) = await fake.begun(1)
        load.answer()
        await wait.until(FOREVER)
        assert fake.stored == [(ALBUMS, "stores", {ONE: rating(ONE)})]


class TestDetach:
    async def test_detached_ids_are_fetched_anew_and_the_earlier_fetch_goes_on(self, fake):
        early = join(fake, 1, 2)
        await fake.begun(1)
        fake.flights.detach((USER.key, Kind.ALBUMS), [ONE, Id("unknown")])
        late = join(fake, 1, 2)
        before, after = await fake.begun(2)
        assert after.ids == [ONE]
        assert late.collapsed == 1
        after.answer({ONE: -1})
        before.answer()
        await early.until(FOREVER)
        await late.until(FOREVER)
        assert early.results == {ONE: rating(ONE), TWO: rating(TWO)}
        assert late.results == {ONE: -1, TWO: rating(TWO)}

    async def test_ids_are_detached_in_every_variant(self, fake):
        fuller = Partition(USER, Kind.ALBUMS, Variant("include=content"))
        join(fake, 1)
        join(fake, 1, partition=fuller)
        await fake.begun(2)
        fake.flights.detach((USER.key, Kind.ALBUMS), [ONE])
        assert not fake.flights.in_flight(ALBUMS, ONE)
        assert not fake.flights.in_flight(fuller, ONE)

    async def test_all_ids_of_one_user_and_type_can_be_detached(self, fake):
        songs, other = Partition(USER, Kind.SONGS), Partition(User.of("bob"), Kind.ALBUMS)
        for partition in (ALBUMS, songs, other):
            join(fake, 1, 2, partition=partition)
        await fake.begun(3)
        fake.flights.detach(ALBUMS.user_kind, None)
        assert [fake.flights.in_flight(ALBUMS, id_) for id_ in (ONE, TWO)] == [False, False]
        assert all(fake.flights.in_flight(partition, ONE) for partition in (songs, other))

    async def test_a_gathering_batch_can_still_be_joined_because_its_call_begins_later(self, fake):
        join(fake, 1)
        fake.flights.detach((USER.key, Kind.ALBUMS), None)
        assert join(fake, 1).collapsed == 1


class TestPriority:
    async def test_a_request_that_waits_raises_a_background_fetch(self, fake):
        join(fake, 1, requester=Requester(Priority.BACKGROUND))
        (load,) = await fake.begun(1)
        assert load.waiters.priority is Priority.BACKGROUND
        requester = Requester()
        join(fake, 1, requester=requester)
        assert (load.waiters.priority, load.waiters.requesters) == (Priority.FOREGROUND, [requester])

    async def test_a_background_request_does_not_lower_a_foreground_fetch(self, fake):
        requester = Requester()
        join(fake, 1, requester=requester)
        (load,) = await fake.begun(1)
        join(fake, 1, requester=Requester(Priority.BACKGROUND))
        assert (load.waiters.priority, load.waiters.requesters) == (Priority.FOREGROUND, [requester])

    async def test_each_request_that_waits_is_listed_once(self, fake):
        first, second = Requester(), Requester()
        join(fake, 1, requester=first)
        (load,) = await fake.begun(1)
        join(fake, 1, requester=second)
        join(fake, 1, requester=second)
        assert load.waiters.requesters == [first, second]


class TestRiders:
    async def test_ids_that_are_due_fill_the_free_seats_in_their_order(self, fake):
        fake.size = 3
        join(fake, 1, due=[THREE, TWO, FOUR])
        (load,) = await fake.begun(1)
        assert (load.ids, load.riders.ids) == ([ONE], [THREE, TWO])

    async def test_ids_in_flight_do_not_ride(self, fake):
        join(fake, 2)
        await fake.begun(1)
        join(fake, 1, due=[TWO, THREE])
        _, load = await fake.begun(2)
        assert load.riders.ids == [THREE]

    async def test_riders_are_stored_apart(self, fake):
        wait = join(fake, 1, due=[TWO])
        (load,) = await fake.begun(1)
        load.answer()
        await wait.until(FOREVER)
        assert [ratings for _, _, ratings in fake.stored] == [{ONE: rating(ONE)}]
        assert fake.ridden == [{TWO: rating(TWO)}]

    async def test_a_rider_that_is_asked_for_is_a_rider_no_more(self, fake):
        join(fake, 1, due=[TWO])
        (load,) = await fake.begun(1)
        wait = join(fake, 2)
        assert load.riders.asked() == [TWO]
        load.answer()
        await wait.until(FOREVER)
        assert wait.results == {TWO: rating(TWO)}
        assert (wait.collapsed, fake.ridden) == (1, [])

    async def test_riders_of_a_call_that_failed_with_them_are_reported_unless_asked_for(self, fake):
        join(fake, 1, due=[TWO, THREE])
        (load,) = await fake.begun(1)
        wait = join(fake, 3)
        load.riders.failed = True
        load.answer({ONE: rating(ONE), THREE: rating(THREE)})
        await wait.until(FOREVER)
        assert fake.failed_riders == [[TWO]]

    async def test_a_call_is_topped_up_to_a_bound(self, fake):
        join(fake, 1, due=[Id(str(number)) for number in range(2, 200)])
        (load,) = await fake.begun(1)
        assert len(load.riders.ids) == TOPPED_UP_IDS - 1

    async def test_a_rider_asked_for_as_its_call_has_ended_without_it_fails_during_a_shutdown(self, fake):
        join(fake, 1, due=[TWO])
        (load,) = await fake.begun(1)
        load.answer({ONE: rating(ONE)})
        wait = join(fake, 2)
        fake.flights.close()
        await wait.until(FOREVER)
        assert isinstance(wait.results[TWO], NoCapacity)
        assert len(fake.loads) == 1

    async def test_a_rider_asked_for_late_and_again_after_a_write_is_fetched_once_for_both(self, fake):
        join(fake, 1, due=[TWO])
        (load,) = await fake.begun(1)
        load.answer({ONE: rating(ONE)})
        before = join(fake, 2)
        fake.flights.detach((USER.key, ALBUMS.kind), [TWO])
        after = join(fake, 2, stamps={TWO: 1})
        _, late = await fake.begun(2)
        late.answer()
        for wait in (before, after):
            await wait.until(FOREVER)
            assert wait.results == {TWO: rating(TWO)}
        assert not fake.flights.in_flight(ALBUMS, TWO)

    async def test_a_rider_asked_for_after_its_call_ended_without_it_is_fetched(self, fake):
        join(fake, 1, due=[TWO])
        (load,) = await fake.begun(1)
        load.answer({ONE: rating(ONE)})
        # The load has its result, and its task has not come to an end.
        asking = Requester()
        wait = join(fake, 2, requester=asking)
        _, late = await fake.begun(2)
        assert late.ids == [TWO]
        assert late.waiters.requesters == [asking]
        late.answer()
        await wait.until(FOREVER)
        assert wait.results == {TWO: rating(TWO)}
