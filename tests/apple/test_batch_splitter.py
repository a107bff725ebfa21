"""Many ids in as many calls as it takes: batches, halves, remembered ids, and riders."""

import asyncio
import random
from collections.abc import Callable, Sequence

import pytest

from gateway.apple.transport import LARGEST_BODY, connect
from gateway.breaker import State
from gateway.errors import AppleError, BreakerOpen, Quarantined
from gateway.model import Id, Kind, Partition, User
from gateway.waiters import Requester, Waiters
from tests.apple.builders import USER, Workshop
from tests.apple.fetches import ALBUMS, BAD_IDS, Bench, FakeRiders, at_most, errors, ids, liked
from tests.apple.scripted import Reply, Seen, Wire, error, held, rated, reply, reset
from tests.hand_clock import HandClock

TOO_MANY_BYTES = LARGEST_BODY + 1
MISSING = reply(404, "<html>")


class TestBatches:
    async def test_250_ids_make_three_calls_and_one_answer_in_the_order_asked(self, bench):
        requester = Requester()
        results = await bench.fetch(ids(250), requester=requester)
        assert list(results) == ids(250)
        assert results == liked(ids(250))
        assert sorted(map(len, bench.script.asked)) == [50, 100, 100]
        assert requester.calls == 3
        assert bench.shop.sample("upstream_batch_ids_sum") == 250.0

    async def test_calls_go_side_by_side(self, bench):
        release = asyncio.Event()
        bench.script.otherwise = held(release, rated())
        fetching = asyncio.create_task(bench.fetch(ids(250)))
        await bench.script.arrived(3)
        release.set()
        assert await fetching == liked(ids(250))

    async def test_one_failed_batch_does_not_take_the_others_with_it(self, bench):
        bench.script.choose = lambda seen: error(403) if "0" in seen.ids else rated()
        results = await bench.fetch(ids(250))
        assert set(errors(results)) == set(ids(100))

    async def test_ids_are_measured_of_calls_that_were_made(self, bench):
        bench.script.otherwise = error(403, "40300")
        await bench.fetch(ids(2), seconds=0.0)
        assert bench.shop.sample("upstream_batch_ids_count") == 0.0
        await bench.fetch(ids(2))
        await bench.fetch(ids(2))
        assert bench.shop.statuses() == {"403": 1.0}
        assert bench.shop.sample("upstream_batch_ids_count") == 1.0

    async def test_a_large_request_leaves_room_for_others(self, bench):
        release = asyncio.Event()
        bench.script.otherwise = held(release, rated())
        large = asyncio.create_task(bench.fetch(ids(5000)))
        await bench.script.arrived(8)
        small = asyncio.create_task(bench.fetch(ids(1, start=9000)))
        await asyncio.sleep(0)
        release.set()
        await small
        assert ["9000"] in bench.script.asked[:20]
        assert await large == liked(ids(5000))


class TestTooLarge:
    @pytest.mark.parametrize(
        "refusal", [error(413), error(414), BAD_IDS, reply(504, "<html>"), reply(200, b" " * TOO_MANY_BYTES)]
    )
    async def test_a_refused_batch_is_halved_and_the_size_remembered(self, bench, refusal):
        bench.script.choose = at_most(50, refusal)
        assert await bench.fetch(ids(100)) == liked(ids(100))
        assert [len(asked) for asked in bench.script.asked] == [100, 50, 50]
        assert bench.apple.batch_size() == 50
        assert await bench.fetch(ids(100)) == liked(ids(100))
        assert [len(asked) for asked in bench.script.asked[3:]] == [50, 50]

    async def test_a_batch_that_is_not_answered_in_time_is_halved_and_the_size_remembered(
        self, script, clock
    ):
        async with connect(base_url=script.url, origin=None, max_concurrency=8, clock=clock) as transport:
            bench = Bench(script, Workshop(transport, clock, call_timeout=0.3, min_calls=1))
            script.choose = at_most(50, held(asyncio.Event(), rated()))
            assert await bench.fetch(ids(100)) == liked(ids(100))
            assert [len(asked) for asked in script.asked] == [100, 50, 50]
            assert (bench.apple.batch_size(), bench.shop.breaker.state) == (50, State.CLOSED)

    async def test_halving_goes_on_until_it_fits(self, bench):
        bench.script.choose = at_most(25, error(413))
        assert await bench.fetch(ids(100)) == liked(ids(100))
        assert sorted(map(len, bench.script.asked)) == [25, 25, 25, 25, 50, 50, 100]
        assert bench.apple.batch_size() == 25

    async def test_the_size_grows_back(self, bench, clock):
        bench.script.choose = at_most(50, error(413))
        await bench.fetch(ids(100))
        clock.move(600.0)
        assert bench.apple.batch_size() == 100

    async def test_halves_are_not_counted_as_retries(self, script, clock):
        async with connect(base_url=script.url, origin=None, max_concurrency=8, clock=clock) as transport:
            bench = Bench(script, Workshop(transport, clock, attempts=1, floor=0))
            script.choose = at_most(10, error(413))
            results = await bench.fetch(ids(100))
        assert results == liked(ids(100))

    @pytest.mark.parametrize("poison", ["0", "42", "99"])
    @pytest.mark.parametrize("refusal", [BAD_IDS, reply(504, "<html>")])
    async def test_one_poisonous_id_is_isolated_and_does_not_shrink_the_size(self, bench, poison, refusal):
        bench.script.choose = at_most(100, refusal, poison)
        results = await bench.fetch(ids(100))
        assert list(errors(results)) == [poison]
        assert {id_: results[id_] for id_ in ids(100) if id_ != poison} == liked(
            [id_ for id_ in ids(100) if id_ != poison]
        )
        assert bench.apple.batch_size() == 100

    @pytest.mark.parametrize(
        "failure", [reply(200, "<html>"), reply(200, "{}", announced=9), rated("9999"), reset, error(502)]
    )
    async def test_an_id_for_which_no_answer_is_sound_is_isolated(self, bench, failure):
        bench.script.choose = at_most(100, failure, "42")
        results = await bench.fetch(ids(60))
        assert list(errors(results)) == ["42"]
        assert bench.splitter.refusal(ALBUMS, Id("42"), bench.shop.clock.monotonic()) is not None
        assert bench.shop.sample("upstream_isolated_total", what="id") == 1.0
        assert bench.apple.batch_size() == 100

    async def test_an_id_for_which_no_answer_ever_comes_is_isolated(self, script, clock):
        async with connect(base_url=script.url, origin=None, max_concurrency=8, clock=clock) as transport:
            bench = Bench(script, Workshop(transport, clock, call_timeout=0.2))
            script.choose = at_most(100, held(asyncio.Event(), rated()), "3")
            assert list(errors(await bench.fetch(ids(4)))) == ["3"]
            assert [len(asked) for asked in script.asked] == [4, 4, 2, 2, 1, 1]

    async def test_an_id_that_apple_never_answers_in_time_does_not_pass_for_an_ill_apple(self, script, clock):
        async with connect(base_url=script.url, origin=None, max_concurrency=8, clock=clock) as transport:
            bench = Bench(script, Workshop(transport, clock, max_concurrency=8, min_calls=5))
            script.choose = at_most(100, reply(504, "<html>"), "42")
            assert list(errors(await bench.fetch(ids(100)))) == ["42"]
            assert bench.shop.breaker.state is State.CLOSED

    async def test_isolating_one_id_among_100_costs_two_calls_a_level(self, bench):
        bench.script.choose = at_most(100, BAD_IDS, "42")
        failure = (await bench.fetch(ids(100)))[Id("42")]
        assert isinstance(failure, AppleError)
        assert (failure.status, failure.code) == (400, "40005")
        assert len(bench.script.seen) <= 15

    async def test_a_limit_is_learnt_also_beside_a_poisonous_id(self, bench):
        bench.script.choose = at_most(25, BAD_IDS, "42")
        results = await bench.fetch(ids(100))
        assert list(errors(results)) == ["42"]
        assert bench.apple.batch_size() == 25

    async def test_where_all_is_refused_the_extra_calls_are_capped(self, bench):
        bench.script.otherwise = BAD_IDS
        results = await bench.fetch(ids(100))
        assert len(errors(results)) == 100
        assert len(bench.script.seen) == 33
        assert bench.apple.batch_size() == 100

    async def test_the_cap_is_of_the_request_and_not_of_each_of_its_batches(self, bench):
        bench.script.otherwise = BAD_IDS
        requester = Requester()
        fetches = [bench.fetch(ids(100, start), requester=requester) for start in range(0, 1000, 100)]
        assert all(len(errors(results)) == 100 for results in await asyncio.gather(*fetches))
        assert len(bench.script.seen) == 10 + 32

    async def test_other_calls_go_on_once_it_is_seen_that_an_id_is_refused_and_not_the_size(self, bench):
        halved, other = asyncio.Event(), asyncio.Event()

        def choose(seen: Seen) -> Reply:
            if len(seen.ids) == 25:
                halved.set()
            if "142" in seen.ids:
                other.set()
            refused = held(other, BAD_IDS) if len(seen.ids) <= 25 else BAD_IDS
            return refused if "42" in seen.ids else rated()

        bench.script.choose = choose
        requester = Requester()
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            searched = group.create_task(bench.fetch(ids(100), requester=requester))
            await halved.wait()
            assert await bench.fetch(ids(100, start=100), requester=requester) == liked(ids(100, start=100))
        assert set(errors(searched.result())) == {"42"}

    async def test_requests_pay_for_themselves(self, bench):
        bench.script.otherwise = BAD_IDS
        await bench.fetch(ids(100))
        bench.script.choose = at_most(50, BAD_IDS)
        songs = Partition(USER, Kind.SONGS)
        assert not errors(await bench.fetch(ids(100), partition=songs))

    async def test_a_division_continues_while_any_of_its_requests_has_calls_left(self, bench):
        waiters = Waiters(Requester())
        assert waiters.take_extra(32)
        waiters.join(Requester())
        bench.script.choose = at_most(50, BAD_IDS)
        results = await bench.apple.fetch(
            ALBUMS, ids(100), riders=FakeRiders(), waiters=waiters, deadline=float("inf")
        )
        assert results == liked(ids(100))

    async def test_a_limit_that_drops_costs_a_large_request_little(self, bench):
        bench.script.choose = at_most(20, error(413))
        requester = Requester()
        fetches = [bench.fetch(ids(100, start), requester=requester) for start in range(0, 10_000, 100)]
        assert all(not errors(results) for results in await asyncio.gather(*fetches))
        sizes = [len(asked) for asked in bench.script.asked]
        # What was under way; then one search, and nothing that was still waiting goes out too large.
        assert sizes.count(100) == 8
        assert sum(size > 20 for size in sizes) <= 8 + 4
        assert len(sizes) <= 10_000 / 13 + 8 + 100

    async def test_one_refusal_costs_only_the_request_that_had_it(self, bench):
        """Apple answered calls of as many ids a moment ago: it refused by chance."""
        await bench.fetch(ids(100))
        bench.script.plays = [BAD_IDS]
        assert await bench.fetch(ids(2)) == liked(ids(2))
        assert bench.apple.batch_size() == 100

    async def test_one_refusal_before_anything_was_answered_halves_the_size(self, bench):
        bench.script.plays = [BAD_IDS]
        assert await bench.fetch(ids(2)) == liked(ids(2))
        assert bench.apple.batch_size() == 50
        assert bench.shop.sample("upstream_batch_size") == 50.0

    async def test_a_limit_of_one_is_learnt(self, bench):
        bench.script.choose = at_most(1, error(413))
        assert await bench.fetch(ids(100)) == liked(ids(100))
        assert bench.apple.batch_size() == 1

    async def test_a_half_that_fails_otherwise_teaches_nothing(self, bench):
        bench.script.plays = [error(413), rated(), error(403)]
        assert len(errors(await bench.fetch(ids(100)))) == 50
        assert bench.apple.batch_size() == 100

    async def test_a_call_that_was_tried_is_tried_on_while_another_is_searched(self, bench):
        searching, tried = asyncio.Event(), asyncio.Event()

        def choose(seen: Seen) -> Reply:
            if "0" in seen.ids:
                if sum("0" in asked for asked in bench.script.asked) == 5:
                    tried.set()
                return held(searching, error(500))
            if len(seen.ids) == 50:
                searching.set()
                return held(tried, rated())
            return error(413) if len(seen.ids) == 100 else rated()

        bench.script.choose = choose
        requester = Requester()
        async with asyncio.timeout(5):
            failing, refused = await asyncio.gather(
                bench.fetch(ids(100), requester=requester),
                bench.fetch(ids(100, start=100), requester=requester),
            )
        assert set(errors(failing)) == {"0"}
        assert refused == liked(ids(100, start=100))
        assert [len(asked) for asked in bench.script.asked].count(100) == 5 + 1

    async def test_a_single_id_that_is_refused_has_its_error(self, bench):
        bench.script.otherwise = BAD_IDS
        assert len(errors(await bench.fetch(ids(1)))) == 1
        assert len(bench.script.seen) == 1

    async def test_a_504_of_less_than_a_full_batch_is_retried_as_it_is(self, bench):
        bench.script.plays = [reply(504, "<html>")]
        assert await bench.fetch(ids(60)) == liked(ids(60))
        assert [len(asked) for asked in bench.script.asked] == [60, 60]

    async def test_another_400_is_not_about_the_size(self, bench):
        bench.script.otherwise = error(400, "40005", parameter="l")
        assert len(errors(await bench.fetch(ids(100)))) == 100
        assert len(bench.script.seen) == 1

    async def test_an_account_without_a_subscription_is_no_ids_fault(self, bench):
        bench.script.otherwise = error(400, "40015")
        failures = errors(await bench.fetch(ids(100)))
        assert {failure.code for failure in failures.values()} == {"40015"}
        assert len(bench.script.seen) == 1


class TickingClock(HandClock):
    """A clock that moves by a microsecond whenever it is read."""

    def monotonic(self) -> float:
        self.move(1e-6)
        return super().monotonic()


class TestLargeRequestInDoubt:
    """Apple refuses what it answered a moment ago, while a large request is under way."""

    @pytest.fixture
    def clock(self):
        return TickingClock()

    async def test_a_limit_that_drops_again_at_once_costs_two_more_searches(self, bench):
        def choose(seen: Seen) -> Reply:
            return at_most(50 if bench.apple.batch_size() == 100 else 20, error(413))(seen)

        bench.script.choose = choose
        requester = Requester()
        fetches = [bench.fetch(ids(100, start), requester=requester) for start in range(0, 10_000, 100)]
        assert all(not errors(results) for results in await asyncio.gather(*fetches))
        assert requester.extra == 6
        assert bench.apple.batch_size() == 50
        await bench.fetch(ids(100))
        assert bench.apple.batch_size() == 13

    async def test_after_one_refusal_its_request_continues_with_half_of_the_size(self, bench):
        await bench.fetch(ids(100))
        bench.script.choose = at_most(20, error(413))
        requester = Requester()
        fetches = [bench.fetch(ids(100, start), requester=requester) for start in range(0, 10_000, 100)]
        assert all(not errors(results) for results in await asyncio.gather(*fetches))
        assert (requester.extra, bench.apple.batch_size()) == (6 + 4, 26)

    async def test_refusals_of_a_moment_do_not_cut_the_rest_of_a_large_request_into_single_ids(self, bench):
        await bench.fetch(ids(100))
        made = len(bench.script.asked)

        def choose(_: Seen) -> Reply:
            return rated() if any(len(asked) == 1 for asked in bench.script.asked[made:]) else BAD_IDS

        bench.script.choose = choose
        requester = Requester()
        fetches = [bench.fetch(ids(100, start), requester=requester) for start in range(0, 3000, 100)]
        assert all(not errors(results) for results in await asyncio.gather(*fetches))
        assert len(bench.script.asked) - made < 100 + 8 + 2 * 30 + 32

    async def test_a_limit_of_one_type_costs_a_large_request_two_searches(self, bench):
        """Calls for another type are answered in between, so that the size is never learnt for all."""
        await bench.fetch(ids(100))
        limit = at_most(20, error(413))
        bench.script.choose = lambda seen: limit(seen) if "songs" in seen.target else rated()
        requester, songs, done = Requester(), Partition(USER, Kind.SONGS), asyncio.Event()

        async def other_type() -> None:
            while not done.is_set():
                await bench.fetch(ids(100))

        async with asyncio.TaskGroup() as group:
            group.create_task(other_type())
            fetches = [
                bench.fetch(ids(100, start), requester=requester, partition=songs)
                for start in range(0, 10_000, 100)
            ]
            assert all(not errors(results) for results in await asyncio.gather(*fetches))
            done.set()
        assert requester.extra <= 6 + 4

    async def test_a_failure_does_not_raise_the_size_that_a_refusal_left_its_request(self, bench):
        await bench.fetch(ids(100))
        requester = Requester()
        bench.script.choose = at_most(13, error(413))
        await bench.fetch(ids(200), requester=requester)
        bench.script.choose = at_most(7, reply(504, "<html>"))
        await bench.fetch(ids(13), requester=requester)
        bench.script.choose = None
        made = len(bench.script.asked)
        await bench.fetch(ids(100), requester=requester)
        assert max(map(len, bench.script.asked[made:])) == 13


class TestKnownIds:
    BAD = Id("42")

    async def learn(self, bench: Bench, *bad: Id) -> int:
        """Have Apple refuse these ids in a call with others; return how many calls it cost."""
        bench.script.choose = lambda seen: BAD_IDS if set(bad) & set(seen.ids) else rated()
        assert set(errors(await bench.fetch([*ids(2), *bad]))) == set(bad)
        return len(bench.script.seen)

    def remember(self, bench: Bench, count: int) -> list[Id]:
        """Let Apple refuse so many ids from now on, as is known of each; return them."""
        bad, now = ids(count), bench.shop.clock.monotonic()
        for id_ in bad:
            bench.shop.failing.remember(ALBUMS, id_, AppleError(400, b""), now, now)
        bench.script.otherwise = BAD_IDS
        return bad

    async def test_they_are_answered_from_memory_and_the_others_asked_for_without_them(self, bench):
        calls = await self.learn(bench, self.BAD)
        results = await bench.fetch([self.BAD, *ids(2)])
        assert list(results) == [self.BAD, *ids(2)]
        (failure,) = errors(results).values()
        assert isinstance(failure, AppleError)
        assert (failure.status, failure.remembered) == (400, True)
        assert bench.script.asked[calls:] == [["0", "1"]]

    async def test_after_ten_seconds_each_is_asked_for_in_a_call_of_its_own(self, bench, clock):
        calls = await self.learn(bench, self.BAD)
        clock.move(10.0)
        assert set(errors(await bench.fetch([self.BAD, *ids(2)]))) == {self.BAD}
        assert sorted(bench.script.asked[calls:]) == [["0", "1"], ["42"]]
        clock.move(10.0)
        bench.script.choose = None
        assert not errors(await bench.fetch([self.BAD, *ids(2)]))
        assert not errors(await bench.fetch([self.BAD, *ids(2)]))
        assert bench.script.asked[-1] == ["42", "0", "1"]

    async def test_an_id_asked_for_alone_is_remembered_once_other_users_are_answered(self, bench):
        bench.script.choose = at_most(100, error(500), "42")
        other = Partition(User.of("other"), Kind.ALBUMS)
        await bench.fetch([self.BAD])
        assert bench.splitter.refusal(ALBUMS, self.BAD, bench.shop.clock.monotonic()) is None
        await bench.fetch(ids(1), partition=other)
        await bench.fetch([self.BAD])
        assert bench.splitter.refusal(ALBUMS, self.BAD, bench.shop.clock.monotonic()) is not None

    async def test_four_are_asked_for_by_themselves_and_the_others_together(self, bench, clock):
        bad = self.remember(bench, 25)
        clock.move(10.0)
        assert set(errors(await bench.fetch(bad))) == set(bad)
        assert sorted(map(len, bench.script.asked)) == [1, 1, 1, 1, 3, 6, 6, 6]
        clock.move(9.0)
        assert set(errors(await bench.fetch(bad))) == set(bad)
        assert len(bench.script.asked) == 8

    async def test_a_list_that_apple_refused_for_a_moment_is_whole_when_it_is_asked_for_again(
        self, bench, clock
    ):
        bad = self.remember(bench, 25)
        clock.move(10.0)
        bench.script.otherwise = rated()
        assert not errors(await bench.fetch(bad))

    async def test_with_one_id_that_fails_for_good_it_is_whole_but_for_that_id_soon(self, bench, clock):
        bad = self.remember(bench, 25)
        bench.script.choose = at_most(100, BAD_IDS, str(bad[-1]))
        missing = []
        for _ in range(2):
            clock.move(10.0)
            missing.append(len(errors(await bench.fetch(bad))))
        assert missing == [3, 1]

    async def test_an_id_that_apple_answers_again_is_found_among_those_that_fail_for_good(self, bench, clock):
        bad = self.remember(bench, 25)
        bench.script.choose = lambda seen: rated() if seen.ids == [str(bad[-1])] else BAD_IDS
        rounds = 0
        while len(errors(await bench.fetch(bad))) == 25:
            clock.move(10.0)
            rounds += 1
        assert rounds == 7

    async def test_they_are_answered_without_a_call_as_are_users_whom_apple_refuses(self, bench, clock):
        await self.learn(bench, self.BAD)
        bench.script.choose = lambda _: error(403, "40300")
        refused = Partition(User.of("revoked"), Kind.ALBUMS)
        await bench.fetch(ids(1), partition=refused)
        known = bench.splitter.refusal(ALBUMS, self.BAD, clock.monotonic())
        quarantined = bench.splitter.refusal(refused, Id("1"), clock.monotonic())
        assert isinstance(known, AppleError)
        assert (known.status, known.remembered) == (400, True)
        assert isinstance(quarantined, Quarantined)
        assert bench.splitter.refusal(ALBUMS, Id("1"), clock.monotonic()) is None


class TestRefusedLists:
    """Lists of refused ids, where the user's calls with the same variant were answered before."""

    @pytest.mark.parametrize(("count", "most"), [(8, 1), (50, 4)])
    async def test_the_ids_are_found_although_no_fragment_is_answered(self, bench, clock, count, most):
        await bench.fetch(ids(1, start=500))
        clock.move(60.0)
        bad = set(ids(count))
        bench.script.choose = lambda seen: BAD_IDS if bad & set(seen.ids) else rated()
        for _ in range(most):
            await bench.fetch(ids(count))
        calls = len(bench.script.seen)
        assert set(errors(await bench.fetch([*ids(count), *ids(10, start=600)]))) == bad
        assert len(bench.script.seen) == calls + 1

    async def test_the_request_is_refused_if_the_variant_was_answered_only_long_ago(self, bench, clock):
        await bench.fetch(ids(1, start=500))
        clock.move(600.0)
        bench.script.otherwise = BAD_IDS
        await bench.fetch(ids(8))
        calls = len(bench.script.seen)
        await bench.fetch(ids(8))
        assert len(bench.script.seen) == calls + 1


def break_off(bench: Bench) -> None:
    """Open the breaker."""
    breaker, now = bench.shop.breaker, bench.shop.clock.monotonic()
    while (admission := breaker.admit(now)) is not None:
        breaker.record(admission, ok=False, now=now)


class TestNoHalfAnswered:
    """Each half of a call contains a bad id, or Apple fails for everything."""

    def make_others_fail(self, bench: Bench) -> None:
        breaker, now = bench.shop.breaker, bench.shop.clock.monotonic()
        for user in (b"ben", b"cleo"):
            admission = breaker.admit(now, user)
            assert admission is not None
            breaker.record(admission, ok=False, now=now, user=user)

    @pytest.mark.parametrize("others_fail", [False, True])
    @pytest.mark.parametrize("bad", [{"0", "99"}, {"49", "50"}, {"12", "60", "61"}])
    async def test_the_bad_ids_fail_alone(self, bench, bad, others_fail):
        if others_fail:
            self.make_others_fail(bench)
        bench.script.choose = lambda seen: error(500) if bad & set(seen.ids) else rated()
        assert set(errors(await bench.fetch(ids(100)))) == bad
        assert bench.shop.breaker.causes["500"] == 0
        assert len(bench.script.seen) <= 5 + 32

    @pytest.mark.parametrize(("count", "most"), [(5, 3), (20, 7), (60, 15)])
    async def test_more_of_them_are_found_in_several_calls(self, bench, count, most):
        bad = set(random.Random(count).sample(ids(100), count))
        bench.script.choose = lambda seen: error(500) if bad & set(seen.ids) else rated()
        fetches = 1
        while set(errors(await bench.fetch(ids(100)))) != bad:
            fetches += 1
        assert fetches <= most
        assert bench.shop.breaker.state is State.CLOSED

    @pytest.mark.parametrize("wanted", [["0", "1", "2", "3"], ["2", "3", "0", "1"]])
    async def test_good_ids_beside_a_failing_one_are_answered_if_the_other_half_is_refused(
        self, bench, wanted
    ):
        def choose(seen: Seen) -> Reply:
            if {"0", "1"} & set(seen.ids):
                return BAD_IDS
            return error(500) if "2" in seen.ids else rated()

        bench.script.choose = choose
        results = await bench.fetch([*map(Id, wanted)])
        assert set(errors(results)) == {"0", "1", "2"}
        assert results[Id("3")] == 1

    async def test_the_breakers_probe_finds_them_and_closes_it(self, bench, clock):
        break_off(bench)
        clock.move(5.0)
        bad = {"0", "99"}
        bench.script.choose = lambda seen: error(500) if bad & set(seen.ids) else rated()
        assert set(errors(await bench.fetch(ids(100)))) == bad
        assert bench.shop.breaker.state is State.CLOSED

    async def test_a_fragment_of_the_probe_that_is_throttled_is_not_repeated(self, bench, clock):
        break_off(bench)
        clock.move(5.0)
        bench.script.plays = [error(500), error(429), error(429)]
        await bench.fetch(ids(100))
        assert [len(asked) for asked in bench.script.asked] == [100, 50, 50]
        assert bench.shop.breaker.state is State.OPEN

    async def test_that_apple_answers_for_another_type_meanwhile_does_not_multiply_the_calls(self, bench):
        async def answer_albums(seen: Seen, wire: Wire) -> None:
            songs = "songs" in seen.target
            if songs and len(seen.ids) == 100:
                await bench.fetch(ids(1))
            await (error(500) if songs else rated())(seen, wire)

        bench.script.otherwise = answer_albums
        failed = errors(await bench.fetch(ids(100), partition=Partition(USER, Kind.SONGS)))
        sizes = [len(seen.ids) for seen in bench.script.seen if "songs" in seen.target]
        assert (len(failed), sizes) == (100, [100] * 5 + [50, 50, 1, 1, 1])
        assert bench.shop.breaker.causes["500"] == 0

    @pytest.mark.parametrize("failure", [reply(504, "<html>"), reply(200, b" " * TOO_MANY_BYTES)])
    async def test_an_outage_that_looks_like_calls_too_large_counts_when_no_fragment_is_answered(
        self, bench, failure
    ):
        bench.script.otherwise = failure
        await bench.fetch(ids(100))
        assert [len(asked) for asked in bench.script.asked] == [100, 50, 50, 1, 1, 1]
        assert sum(bench.shop.breaker.causes.values()) == 6

    async def test_it_fails_the_breakers_probe(self, bench, clock):
        break_off(bench)
        clock.move(5.0)
        bench.script.otherwise = reply(504, "<html>")
        await bench.fetch(ids(100))
        assert bench.shop.breaker.state is State.OPEN

    async def test_a_call_too_large_for_apple_is_never_counted(self, bench):
        counted = []

        def choose(seen: Seen) -> Reply:
            counted.append(bench.shop.breaker.causes.total())
            return at_most(50, reply(504, "<html>"))(seen)

        bench.script.choose = choose
        assert not errors(await bench.fetch(ids(100)))
        assert [*counted, bench.shop.breaker.causes.total()] == [0] * 4

    async def test_in_an_outage_three_ids_are_asked_for_by_themselves_and_no_more(self, bench):
        bench.script.otherwise = error(500)
        assert len(errors(await bench.fetch(ids(100)))) == 100
        assert [len(asked) for asked in bench.script.asked] == [100] * 5 + [50, 50, 1, 1, 1]
        assert bench.shop.breaker.causes["500"] == 10


class TestMissing:
    """Apple, or the edge in front of it, answers 404 that does not mean unrated."""

    @pytest.mark.parametrize("missing", [MISSING, reply(404, '{"errors":[]}')])
    async def test_an_id_fails_alone_and_is_remembered(self, bench, missing):
        bench.script.choose = at_most(100, missing, "42")
        failed = errors(await bench.fetch(ids(60)))
        assert [(id_, error.status) for id_, error in failed.items()] == [("42", 502)]
        calls = len(bench.script.seen)
        assert list(errors(await bench.fetch(ids(60)))) == ["42"]
        assert len(bench.script.seen) == calls + 1

    async def test_one_that_is_asked_for_by_itself_is_remembered_when_it_fails_again(self, bench):
        bench.script.choose = at_most(100, MISSING, "42")
        for wanted in (Id("42"), Id("1"), Id("42")):
            await bench.fetch([wanted])
        assert bench.splitter.refusal(ALBUMS, Id("42"), bench.shop.clock.monotonic()) is not None

    async def test_the_breaker_does_not_count_it(self, script, clock):
        async with connect(base_url=script.url, origin=None, max_concurrency=8, clock=clock) as transport:
            bench = Bench(script, Workshop(transport, clock, min_calls=1))
            script.otherwise = MISSING
            assert len(errors(await bench.fetch(ids(60)))) == 60
            assert (bench.shop.breaker.state, bench.shop.breaker.causes.total()) == (State.CLOSED, 0)

    async def test_an_edge_that_answers_so_to_everything_is_searched_once(self, bench):
        bench.script.otherwise = MISSING
        await bench.fetch(ids(60))
        assert [len(asked) for asked in bench.script.asked] == [60] * 5 + [30, 30, 1, 1, 1]
        calls = len(bench.script.seen)
        await bench.fetch(ids(60), partition=Partition(User.of("ben"), Kind.ALBUMS))
        assert [len(asked) for asked in bench.script.asked[calls:]] == [60] * 5

    async def test_the_search_is_made_again_ten_seconds_later(self, bench, clock):
        bench.script.otherwise = MISSING
        await bench.fetch(ids(60))
        bench.script.choose = at_most(100, MISSING, "42")
        assert len(errors(await bench.fetch(ids(60)))) == 60
        clock.move(10.0)
        assert list(errors(await bench.fetch(ids(60)))) == ["42"]

    async def test_what_fails_so_for_one_user_does_not_keep_others_from_a_search(self, bench, clock):
        ben = Partition(User.of("ben"), Kind.ALBUMS)
        bench.script.otherwise = MISSING
        await bench.fetch(ids(60))
        clock.move(0.1)
        bench.script.choose = at_most(100, MISSING, "42")
        assert errors(await bench.fetch(ids(5), partition=ben)) == {}
        assert list(errors(await bench.fetch(ids(60), partition=ben))) == ["42"]

    async def test_a_search_of_which_anything_was_answered_keeps_no_other_from_one(self, bench):
        bench.script.choose = lambda seen: MISSING if {"42", "43", "50"} & {*seen.ids} else rated()
        assert list(errors(await bench.fetch(ids(3, start=41)))) == ["42", "43"]
        assert list(errors(await bench.fetch(ids(20, start=44)))) == ["50"]

    async def test_the_breakers_probe_may_be_such_a_call(self, bench, clock):
        break_off(bench)
        clock.move(5.0)
        bench.script.choose = at_most(100, MISSING, "42")
        assert list(errors(await bench.fetch(ids(60)))) == ["42"]
        assert bench.shop.breaker.state is State.CLOSED


class TestAgain:
    """A call fails, others are answered, and the same ids fail again within a minute."""

    async def fail_twice(self, bench: Bench, wanted: Sequence[Id]) -> list[list[str]]:
        """Return what the second failing call became."""
        for otherwise, asked in ((error(500), wanted), (rated(), ids(3, start=500)), (error(500), wanted)):
            calls = len(bench.script.seen)
            bench.script.otherwise = otherwise
            await bench.fetch(asked)
        return bench.script.asked[calls:]

    def known(self, bench: Bench, wanted: Sequence[Id]) -> list[Id]:
        now = bench.shop.clock.monotonic()
        return [id_ for id_ in wanted if bench.splitter.refusal(ALBUMS, id_, now) is not None]

    async def test_a_list_is_apples_failure_again(self, bench):
        asked = await self.fail_twice(bench, ids(20))
        assert [len(each) for each in asked] == [20] * 5 + [10, 10, 1, 1, 1]
        assert self.known(bench, ids(20)) == []
        assert bench.shop.breaker.causes["500"] > 0

    @pytest.mark.parametrize("count", [1, 2])
    async def test_ids_that_all_failed_by_themselves_are_at_fault(self, bench, count):
        await self.fail_twice(bench, ids(count))
        assert self.known(bench, ids(count)) == ids(count)

    @pytest.mark.parametrize("count", [1, 2])
    async def test_they_are_not_if_there_was_an_outage_in_between(self, bench, clock, count):
        bench.script.otherwise = error(500)
        await bench.fetch(ids(count))
        break_off(bench)
        clock.move(5.0)
        bench.script.otherwise = rated()
        await bench.fetch(ids(1, start=500))
        await self.fail_twice(bench, ids(count, start=900))
        await bench.fetch(ids(count))
        assert self.known(bench, ids(count)) == []

    @pytest.mark.parametrize("count", [1, 3])
    async def test_no_id_is_at_fault_if_the_first_try_began_before_the_outage(self, bench, clock, count):
        """The user's other call began later, and was answered before the outage."""

        async def begin_outage(seen: Seen, wire: Wire) -> None:
            if seen.ids == ["500"]:
                await rated()(seen, wire)
                return
            if len(bench.script.seen) == 1:
                clock.move(0.1)
                await bench.fetch(ids(1, start=500))
                clock.move(0.1)
            await error(500)(seen, wire)

        bench.script.otherwise = begin_outage
        assert len(errors(await bench.fetch(ids(count)))) == count
        assert self.known(bench, ids(count)) == []
        assert bench.shop.breaker.causes["500"] > 0

    @pytest.mark.parametrize("answered", [False, True])
    async def test_an_id_at_fault_for_another_user_is_so_if_calls_are_answered_since(
        self, bench, clock, answered
    ):
        bench.script.choose = at_most(100, error(500), "0")
        await bench.fetch(ids(5))
        clock.move(0.1)
        if answered:
            await bench.fetch(ids(1, start=500))
        bench.script.choose, bench.script.otherwise = None, error(500)
        bens = Partition(User.of("ben"), Kind.ALBUMS)
        await bench.fetch(ids(1), partition=bens)
        blamed = bench.splitter.refusal(bens, Id("0"), clock.monotonic()) is not None
        assert (blamed, bench.shop.breaker.causes["500"]) == (answered, 0 if answered else 1)


class TestCutShort:
    """The breaker opens while a failed call is divided."""

    def fail_and_break(self, bench: Bench, failure: Reply, calls: int) -> Callable[[Seen], Reply]:
        """Answer everything with `failure`; with the answer to that call the breaker opens."""

        def choose(_: Seen) -> Reply:
            if len(bench.script.seen) == calls:
                break_off(bench)
            return failure

        return choose

    async def test_fragments_that_were_not_asked_for_do_not_pass_for_refused(self, bench):
        bench.script.choose = self.fail_and_break(bench, BAD_IDS, 3)
        results = await bench.fetch(ids(4))
        assert all(isinstance(result, BreakerOpen) and result.stale_allowed for result in results.values())

    async def test_fragments_that_were_not_asked_for_have_apples_failure_of_the_whole(self, bench):
        bench.script.choose = self.fail_and_break(bench, error(500), 7)
        results = await bench.fetch(ids(8))
        assert {getattr(result, "received_status", None) for result in results.values()} == {500}
        assert len(bench.script.seen) == 7

    async def test_the_next_call_is_divided_again(self, bench, clock):
        bench.script.choose = self.fail_and_break(bench, BAD_IDS, 3)
        await bench.fetch(ids(4))
        clock.move(5.0)
        bench.script.choose = at_most(100, BAD_IDS, "1")
        await bench.fetch(ids(1))
        assert list(errors(await bench.fetch(ids(4)))) == ["1"]


class TestRiders:
    async def test_they_are_refreshed_in_the_same_call(self, bench):
        assert await bench.fetch(ids(1), riders=FakeRiders("7", "8")) == liked([Id("0"), Id("7"), Id("8")])
        assert bench.script.asked == [["0", "7", "8"]]

    @pytest.mark.parametrize("failure", [error(400), error(500), reply(200, "<html>")])
    async def test_a_call_that_fails_with_them_is_made_again_without_them(self, bench, failure):
        bench.script.plays = [failure]
        riders = FakeRiders("7")
        assert await bench.fetch(ids(1), riders=riders) == liked(ids(1))
        assert (bench.script.asked, riders.failed) == ([["0", "7"], ["0"]], True)

    async def test_a_429_leaves_them_out_and_is_not_held_against_them(self, bench):
        bench.script.plays = [error(429)]
        riders = FakeRiders("7")
        assert await bench.fetch(ids(1), riders=riders) == liked(ids(1))
        assert (bench.script.asked, riders.failed) == ([["0", "7"], ["0"]], False)

    async def test_one_that_a_request_has_asked_for_meanwhile_is_fetched_all_the_same(self, bench):
        bench.script.plays = [error(500)]
        results = await bench.fetch(ids(1), riders=FakeRiders("7", "8", wanted=["8"]))
        assert results == liked([Id("0"), Id("8")])
        assert bench.script.asked == [["0", "7", "8"], ["0", "8"]]

    async def test_they_stay_behind_where_they_would_cost_a_call(self, bench):
        assert await bench.fetch(ids(100), riders=FakeRiders("700")) == liked(ids(100))
        assert [len(asked) for asked in bench.script.asked] == [100]

    @pytest.mark.parametrize("wanted", [ids(1), [Id("42")]])
    async def test_riders_stay_behind_if_an_id_of_the_call_is_remembered_as_failing(self, bench, wanted):
        bench.script.choose = at_most(100, BAD_IDS, "42")
        await bench.fetch([*ids(2), Id("42")])
        results = await bench.fetch(wanted, riders=FakeRiders("42", "7"))
        assert list(results) == wanted
