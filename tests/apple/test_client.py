"""Apple's API as the gateway sees it, over real sockets and scripted answers."""

import asyncio
import random
from collections.abc import Callable, Sequence

import pytest

from gateway.apple.batch_splitter import BatchSplitter
from gateway.apple.client import Apple, Outbound, Relay, open_apple
from gateway.apple.developer_token import TokenSource
from gateway.apple.quarantine import Quarantine
from gateway.apple.transport import connect
from gateway.breaker import Breaker, State
from gateway.errors import DeadlineExceeded, GatewayError, Relayed, Unreachable, Unusable
from gateway.model import PLAIN, Id, Kind, Partition, Priority, Rating, Variant
from gateway.telemetry.metrics import Metrics
from gateway.waiters import Requester, Waiters
from tests.apple.builders import KEY, USER, Workshop
from tests.apple.scripted import Reply, Script, Seen, error, held, rated, reply, reset

ALBUMS = Partition(USER, Kind.ALBUMS)

Outcomes = dict[Id, Rating | GatewayError]


def ids(count: int, start: int = 0) -> list[Id]:
    return [Id(str(number)) for number in range(start, start + count)]


def apple_of(shop: Workshop) -> Apple:
    now = shop.clock.monotonic
    splitter = BatchSplitter(shop.caller, max_ids_per_call=100, now=now, metrics=shop.metrics)
    return Apple(shop.caller, splitter, shop.limiter, now)


class Bench:
    """The client under test, and everything around it."""

    def __init__(self, script: Script, shop: Workshop, apple: Apple) -> None:
        self.script = script
        self.shop = shop
        self.apple = apple

    async def fetch(
        self,
        wanted: Sequence[Id],
        *,
        partition: Partition = ALBUMS,
        seconds: float = 10.0,
        requester: Requester | None = None,
    ) -> Outcomes:
        waiters = Waiters(Priority.FOREGROUND, requester or Requester())
        return await self.apple.fetch(
            partition, wanted, waiters=waiters, deadline=self.shop.clock.monotonic() + seconds
        )

    async def send(self, method: str, *, query: str = "", body: bytes | None = None) -> Relay:
        operation = {"PUT": "write", "DELETE": "delete", "GET": "bypass"}[method]
        path = "/v1/me/ratings/albums/1"
        call = Outbound(operation=operation, method=method, path=path, query=query, user=USER, body=body)
        return await self.apple.send(call, self.shop.clock.monotonic() + 10.0)


@pytest.fixture
async def bench(script, clock):
    async with connect(base_url=script.url, origin=None, max_concurrency=8, clock=clock) as transport:
        shop = Workshop(transport, clock, max_concurrency=8, min_calls=1000)
        apple = apple_of(shop)
        yield Bench(script, shop, apple)


def liked(wanted: Sequence[Id]) -> Outcomes:
    return dict.fromkeys(wanted, 1)


def errors(outcomes: Outcomes) -> dict[Id, GatewayError]:
    return {id_: outcome for id_, outcome in outcomes.items() if isinstance(outcome, GatewayError)}


class TestFetch:
    async def test_the_form_with_many_ids_is_used_also_for_one(self, bench):
        assert await bench.fetch(ids(1)) == liked(ids(1))
        (seen,) = bench.script.seen
        assert (seen.method, seen.target) == ("GET", "/v1/me/ratings/albums?ids=0")
        assert seen.headers["music-user-token"] == USER.token

    async def test_a_variant_goes_along(self, bench):
        await bench.fetch(ids(2), partition=Partition(USER, Kind.ALBUMS, Variant("include=content&l=de")))
        assert bench.script.seen[0].target == "/v1/me/ratings/albums?ids=0,1&include=content&l=de"

    async def test_250_ids_make_three_calls_and_one_answer_in_the_order_asked(self, bench):
        requester = Requester()
        outcomes = await bench.fetch(ids(250), requester=requester)
        assert list(outcomes) == ids(250)
        assert outcomes == liked(ids(250))
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

    async def test_unrated_ids_are_none(self, bench):
        bench.script.otherwise = error(404, "40400")
        assert await bench.fetch(ids(2)) == dict.fromkeys(ids(2))

    @pytest.mark.parametrize(
        ("broken", "kind"),
        [
            (reset, Unreachable),
            (error(500), Relayed),
            (error(403), Relayed),
            (reply(200, "<html>"), Unusable),
            (rated("99999"), Unusable),
        ],
    )
    async def test_failures_are_outcomes_and_never_unrated(self, bench, broken, kind):
        bench.script.otherwise = broken
        outcomes = await bench.fetch(ids(2))
        assert [type(outcome) for outcome in outcomes.values()] == [kind, kind]

    async def test_one_failed_batch_does_not_take_the_others_with_it(self, bench):
        bench.script.choose = lambda seen: error(403) if "0" in seen.ids else rated()
        outcomes = await bench.fetch(ids(250))
        assert set(errors(outcomes)) == set(ids(100))

    async def test_without_time_every_id_says_so(self, bench):
        outcomes = await bench.fetch(ids(2), seconds=0.0)
        assert [type(outcome) for outcome in outcomes.values()] == [DeadlineExceeded] * 2
        assert bench.script.seen == []

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


def at_most(size: int, refusal: Reply, poison: str | None = None) -> Callable[[Seen], Reply]:
    """Apple with a limit on the ids of one call, and perhaps an id that it refuses in any company."""

    def choose(seen: Seen) -> Reply:
        return refusal if len(seen.ids) > size or poison in seen.ids else rated()

    return choose


BAD_IDS = error(400, "40005", parameter="ids")


class TestTooLarge:
    @pytest.mark.parametrize("refusal", [error(413), error(414), BAD_IDS, reply(504, "<html>")])
    async def test_a_refused_batch_is_halved_and_the_size_remembered(self, bench, refusal):
        bench.script.choose = at_most(50, refusal)
        assert await bench.fetch(ids(100)) == liked(ids(100))
        assert [len(asked) for asked in bench.script.asked] == [100, 50, 50]
        assert bench.apple.batch_size() == 50
        assert await bench.fetch(ids(100)) == liked(ids(100))
        assert [len(asked) for asked in bench.script.asked[3:]] == [50, 50]

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
            shop = Workshop(transport, clock, attempts=1, floor=0)
            apple = apple_of(shop)
            script.choose = at_most(10, error(413))
            outcomes = await Bench(script, shop, apple).fetch(ids(100))
        assert outcomes == liked(ids(100))

    @pytest.mark.parametrize("poison", ["0", "42", "99"])
    @pytest.mark.parametrize("refusal", [BAD_IDS, reply(504, "<html>")])
    async def test_one_poisonous_id_is_isolated_and_does_not_shrink_the_size(self, bench, poison, refusal):
        bench.script.choose = at_most(100, refusal, poison)
        outcomes = await bench.fetch(ids(100))
        assert list(errors(outcomes)) == [poison]
        assert {id_: outcomes[id_] for id_ in ids(100) if id_ != poison} == liked(
            [id_ for id_ in ids(100) if id_ != poison]
        )
        assert bench.apple.batch_size() == 100

    async def test_an_id_that_apple_never_answers_in_time_does_not_pass_for_an_ill_apple(self, script, clock):
        async with connect(base_url=script.url, origin=None, max_concurrency=8, clock=clock) as transport:
            shop = Workshop(transport, clock, max_concurrency=8, min_calls=5)
            apple = apple_of(shop)
            bench = Bench(script, shop, apple)
            script.choose = at_most(100, reply(504, "<html>"), "42")
            assert list(errors(await bench.fetch(ids(100)))) == ["42"]
            assert shop.breaker.state is State.CLOSED

    async def test_isolating_one_id_among_100_costs_two_calls_a_level(self, bench):
        bench.script.choose = at_most(100, BAD_IDS, "42")
        failure = (await bench.fetch(ids(100)))[Id("42")]
        assert isinstance(failure, Relayed)
        assert (failure.status, failure.code) == (400, "40005")
        assert len(bench.script.seen) <= 15

    async def test_a_limit_is_learnt_also_beside_a_poisonous_id(self, bench):
        bench.script.choose = at_most(25, BAD_IDS, "42")
        outcomes = await bench.fetch(ids(100))
        assert list(errors(outcomes)) == ["42"]
        assert bench.apple.batch_size() == 25

    async def test_where_all_is_refused_the_extra_calls_are_capped(self, bench):
        bench.script.otherwise = BAD_IDS
        outcomes = await bench.fetch(ids(100))
        assert len(errors(outcomes)) == 100
        assert len(bench.script.seen) == 33
        assert bench.apple.batch_size() == 100

    async def test_the_cap_is_of_the_request_and_not_of_each_of_its_batches(self, bench):
        bench.script.otherwise = BAD_IDS
        requester = Requester()
        fetches = [bench.fetch(ids(100, start), requester=requester) for start in range(0, 1000, 100)]
        assert all(len(errors(outcomes)) == 100 for outcomes in await asyncio.gather(*fetches))
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

    async def test_a_call_goes_on_while_anybody_who_wants_it_has_calls_left(self, bench):
        waiters = Waiters(Priority.FOREGROUND, Requester())
        assert waiters.take_extra(32)
        waiters.join(Priority.FOREGROUND, Requester())
        bench.script.choose = at_most(50, BAD_IDS)
        outcomes = await bench.apple.fetch(ALBUMS, ids(100), waiters=waiters, deadline=float("inf"))
        assert outcomes == liked(ids(100))

    async def test_a_limit_that_drops_costs_a_large_request_little(self, bench):
        bench.script.choose = at_most(20, error(413))
        requester = Requester()
        fetches = [bench.fetch(ids(100, start), requester=requester) for start in range(0, 10_000, 100)]
        assert all(not errors(outcomes) for outcomes in await asyncio.gather(*fetches))
        sizes = [len(asked) for asked in bench.script.asked]
        # What was under way; then one search, and nothing that was still waiting goes out too large.
        assert sizes.count(100) == 8
        assert sum(size > 20 for size in sizes) <= 8 + 4
        assert len(sizes) <= 10_000 / 13 + 8 + 100

    async def test_a_limit_that_drops_again_at_once_costs_one_more_search(self, bench):
        def choose(seen: Seen) -> Reply:
            return at_most(50 if bench.apple.batch_size() == 100 else 20, error(413))(seen)

        bench.script.choose = choose
        requester = Requester()
        fetches = [bench.fetch(ids(100, start), requester=requester) for start in range(0, 10_000, 100)]
        assert all(not errors(outcomes) for outcomes in await asyncio.gather(*fetches))
        assert requester.extra == 6
        assert bench.apple.batch_size() == 13

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


class TestSend:
    async def test_a_write_is_sent_as_given_and_the_answer_handed_on(self, bench):
        bench.script.otherwise = reply(200, '{"data":[]}')
        relay = await bench.send("PUT", query="l=de", body=b'{"type":"rating"}')
        assert relay == Relay(200, b'{"data":[]}')
        (seen,) = bench.script.seen
        assert (seen.method, seen.target) == ("PUT", "/v1/me/ratings/albums/1?l=de")
        assert seen.body == b'{"type":"rating"}'
        assert bench.shop.statuses("write") == {"200": 1.0}

    async def test_a_deletion(self, bench):
        bench.script.otherwise = reply(204)
        assert await bench.send("DELETE") == Relay(204, b"")
        assert bench.script.seen[0].target == "/v1/me/ratings/albums/1"
        assert bench.shop.statuses("delete") == {"204": 1.0}

    async def test_a_bypassed_read_keeps_its_query_and_is_retried(self, bench):
        bench.script.plays = [error(503)]
        bench.script.otherwise = reply(200, "{}")
        assert await bench.send("GET", query="ids=1%2C2&x=%20") == Relay(200, b"{}")
        assert [seen.target for seen in bench.script.seen] == ["/v1/me/ratings/albums/1?ids=1%2C2&x=%20"] * 2

    @pytest.mark.parametrize("status", [400, 403, 404, 500])
    async def test_apples_error_is_raised(self, bench, status):
        bench.script.otherwise = error(status)
        with pytest.raises(Relayed) as caught:
            await bench.send("PUT", body=b"{}")
        assert caught.value.status == status

    @pytest.mark.parametrize("odd", [reply(200, "<html>"), reply(302, Location="/x")])
    async def test_what_makes_no_sense_is_unusable(self, bench, odd):
        bench.script.otherwise = odd
        with pytest.raises(Unusable):
            await bench.send("DELETE")

    async def test_a_write_whose_connection_breaks_is_not_sent_again(self, bench):
        bench.script.otherwise = reset
        with pytest.raises(Unreachable) as caught:
            await bench.send("PUT", body=b"{}")
        assert caught.value.sent
        assert len(bench.script.seen) == 1


async def test_the_whole_client_stands_together(script, clock):
    metrics = Metrics()
    news: list[float] = []
    async with open_apple(
        base_url=script.url,
        origin="https://example.com",
        max_ids_per_call=2,
        call_timeout_seconds=3.0,
        attempts=1,
        max_concurrency=4,
        tokens=TokenSource(KEY, clock, metrics),
        breaker=Breaker(error_rate=0.5, window_seconds=10.0, min_calls=20, open_seconds=5.0),
        quarantine=Quarantine(seconds=10.0, metrics=metrics),
        clock=clock,
        metrics=metrics,
        on_throttled=news.append,
    ) as apple:
        script.plays = [error(429)]
        waiters = Waiters(Priority.FOREGROUND, Requester())
        partition = Partition(USER, Kind.ALBUMS, PLAIN)
        outcomes = await apple.fetch(partition, ids(4), waiters=waiters, deadline=clock.monotonic() + 10.0)
        assert len(errors(outcomes)) == 2
        assert news == [0.0]
        apple.throttled_elsewhere()
        assert apple.batch_size() == 2
    assert {len(asked) for asked in script.asked} == {2}
    assert script.seen[0].headers["origin"] == "https://example.com"
    assert metrics.registry.get_sample_value("gateway_upstream_concurrency_limit") == 2.0


async def test_a_minute_of_429s_and_500s_costs_no_answer_and_few_more_calls(bench, clock):
    """10 % 429s and 2 % 500s, ten reads a second."""
    chance = random.Random(7)

    def moody(_: Seen) -> Reply:
        dice = chance.random()
        return error(429) if dice < 0.1 else error(500) if dice < 0.12 else rated()

    bench.script.choose = moody
    for number in range(600):
        started = clock.monotonic()
        assert not errors(await bench.fetch(ids(1, start=number)))
        clock.move(max(0.0, started + 0.1 - clock.monotonic()))
    assert 600 < len(bench.script.seen) <= 1.25 * 600
