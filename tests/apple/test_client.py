"""Apple's API as the gateway sees it, over real sockets and scripted answers."""

import pytest

from gateway.apple.client import AppleSuccess
from gateway.apple.concurrency import ConcurrencyLimiter
from gateway.apple.developer_token import TokenSource
from gateway.apple.quarantine import Quarantine
from gateway.apple.response import AppleResponse
from gateway.apple.transport import connect
from gateway.breaker import Breaker
from gateway.errors import (
    AppleError,
    DeadlineExceeded,
    Quarantined,
    Unreachable,
    Unusable,
    UpstreamError,
)
from gateway.factories import build_apple
from gateway.model import Kind, Partition, Variant
from gateway.telemetry.metrics import Metrics
from gateway.waiters import Requester, Waiters
from tests.apple.builders import KEY, USER, FakeTransport, Workshop
from tests.apple.fetches import ALBUMS, Bench, FakeRiders, errors, ids, liked
from tests.apple.scripted import error, rated, reply, reset

BROKE = Unreachable("gone", proxy_error="connection_terminated", sent=True, kept=True)
REFUSED = Unreachable("refused", proxy_error="connection_refused", sent=False)


class TestFetch:
    async def test_the_form_with_many_ids_is_used_also_for_one(self, bench):
        assert await bench.fetch(ids(1)) == liked(ids(1))
        (seen,) = bench.script.seen
        assert (seen.method, seen.target) == ("GET", "/v1/me/ratings/albums?ids=0")
        assert seen.headers["music-user-token"] == USER.token

    async def test_a_variant_goes_along(self, bench):
        await bench.fetch(ids(2), partition=Partition(USER, Kind.ALBUMS, Variant("include=content&l=de")))
        assert bench.script.seen[0].target == "/v1/me/ratings/albums?ids=0,1&include=content&l=de"

    async def test_unrated_ids_are_none(self, bench):
        bench.script.otherwise = error(404, "40400")
        assert await bench.fetch(ids(2)) == dict.fromkeys(ids(2))

    @pytest.mark.parametrize(
        ("broken", "kind"),
        [
            (reset, Unreachable),
            (error(500), AppleError),
            (error(403), AppleError),
            (reply(200, "<html>"), Unusable),
            (rated("99999"), Unusable),
        ],
    )
    async def test_failures_are_results_and_never_unrated(self, bench, broken, kind):
        bench.script.otherwise = broken
        results = await bench.fetch(ids(2))
        assert [type(result) for result in results.values()] == [kind, kind]

    async def test_without_time_every_id_says_so(self, bench):
        results = await bench.fetch(ids(2), seconds=0.0)
        assert [type(result) for result in results.values()] == [DeadlineExceeded] * 2
        assert bench.script.seen == []


class TestSend:
    async def test_a_write_is_sent_as_given_and_the_answer_handed_on(self, bench):
        bench.script.otherwise = reply(200, '{"data":[]}')
        answer = await bench.send("PUT", query="l=de", body=b'{"type":"rating"}')
        assert answer == AppleSuccess(200, b'{"data":[]}')
        (seen,) = bench.script.seen
        assert (seen.method, seen.target) == ("PUT", "/v1/me/ratings/albums/1?l=de")
        assert seen.body == b'{"type":"rating"}'
        assert bench.shop.statuses("write") == {"200": 1.0}

    async def test_a_delete_goes_to_the_path_of_its_id_and_returns_apples_204(self, bench):
        bench.script.otherwise = reply(204)
        assert await bench.send("DELETE") == AppleSuccess(204, b"")
        assert bench.script.seen[0].target == "/v1/me/ratings/albums/1"
        assert bench.shop.statuses("delete") == {"204": 1.0}

    async def test_a_repeated_deletion_that_finds_nothing_was_done_by_the_first_try(self, bench):
        bench.script.plays = [reply(204), reset, error(404, "40400")]
        await bench.send("DELETE")
        assert await bench.send("DELETE") == AppleSuccess(204, b"")
        assert [seen.connection for seen in bench.script.seen] == [1, 1, 2]

    @pytest.mark.parametrize(
        ("turns", "status", "maybe_done"),
        [
            ([BROKE, AppleResponse(400, b"{}")], 400, True),
            ([BROKE, REFUSED, AppleResponse(400, b"{}")], 400, True),
            ([BROKE, *[REFUSED] * 5], 502, True),
            ([BROKE, AppleResponse(429, b"{}"), AppleResponse(400, b"{}")], 400, True),
            ([AppleResponse(400, b"{}")], 400, False),
            ([REFUSED, AppleResponse(400, b"{}")], 400, False),
            ([AppleResponse(429, b"{}"), AppleResponse(400, b"{}")], 400, False),
        ],
    )
    async def test_a_failed_write_may_be_done_if_an_earlier_try_was_left_unanswered(
        self, script, clock, turns, status, maybe_done
    ):
        transport = FakeTransport()
        transport.turns = list(turns)
        failure = await Bench(script, Workshop(transport, clock)).send("PUT", body=b"{}")
        assert isinstance(failure, UpstreamError)
        assert (failure.status, failure.maybe_done, transport.turns) == (status, maybe_done, [])

    async def test_a_write_may_be_done_though_its_repeat_is_kept_from_apple(self, script, clock):
        transport = FakeTransport()
        bench = Bench(script, Workshop(transport, clock))
        transport.turns = [BROKE]
        quarantine = bench.shop.quarantine
        transport.before = lambda: quarantine.refuse(USER.key, AppleError(403, b""), clock.monotonic())
        failure = await bench.send("PUT", body=b"{}")
        assert isinstance(failure, Quarantined)
        assert failure.maybe_done
        later = await bench.send("PUT", body=b"{}")
        assert isinstance(later, Quarantined)
        assert not later.maybe_done

    async def test_a_conditional_write_on_a_kept_connection_that_breaks_is_not_sent_again(self, bench):
        bench.script.plays = [reply(204), reset]
        await bench.send("DELETE")
        failure = await bench.send("PUT", body=b"{}", headers={"If-Match": '"1"'})
        assert isinstance(failure, Unreachable)
        assert len(bench.script.seen) == 2

    async def test_a_bypassed_read_keeps_its_query_and_is_retried(self, bench):
        bench.script.plays = [error(503)]
        bench.script.otherwise = reply(200, "{}")
        assert await bench.send("GET", query="ids=1%2C2&x=%20") == AppleSuccess(200, b"{}")
        assert [seen.target for seen in bench.script.seen] == ["/v1/me/ratings/albums/1?ids=1%2C2&x=%20"] * 2

    @pytest.mark.parametrize("status", [400, 403, 404, 500])
    async def test_apples_error_is_returned(self, bench, status):
        bench.script.otherwise = error(status)
        failure = await bench.send("PUT", body=b"{}")
        assert isinstance(failure, AppleError)
        assert failure.status == status

    @pytest.mark.parametrize("odd", [reply(200, "<html>"), reply(302, Location="/x")])
    async def test_what_makes_no_sense_is_unusable(self, bench, odd):
        bench.script.otherwise = odd
        assert isinstance(await bench.send("DELETE"), Unusable)

    async def test_a_write_whose_connection_breaks_is_not_sent_again(self, bench):
        bench.script.otherwise = reset
        failure = await bench.send("PUT", body=b"{}")
        assert isinstance(failure, Unreachable)
        assert failure.sent
        assert len(bench.script.seen) == 1


async def test_the_whole_client_stands_together(script, clock):
    metrics = Metrics()
    news: list[float] = []
    async with connect(
        base_url=script.url, origin="https://example.com", max_concurrency=4, clock=clock
    ) as transport:
        apple = build_apple(
            transport,
            limiter=ConcurrencyLimiter(
                max_concurrency=4, clock=clock, metrics=metrics, on_throttled=news.append
            ),
            tokens=TokenSource(KEY, clock, metrics),
            breaker=Breaker(error_rate=0.5, window_seconds=10.0, min_calls=20, open_seconds=5.0),
            quarantine=Quarantine(seconds=10.0, metrics=metrics),
            max_ids_per_call=2,
            call_timeout_seconds=3.0,
            attempts=1,
            clock=clock,
            metrics=metrics,
        )
        script.plays = [error(429)]
        waiters = Waiters(Requester())
        deadline = clock.monotonic() + 10.0
        results = await apple.fetch(ALBUMS, ids(4), riders=FakeRiders(), waiters=waiters, deadline=deadline)
        assert len(errors(results)) == 2
        assert news == [0.0]
        apple.throttled_elsewhere()
        assert apple.batch_size() == 2
    assert {len(asked) for asked in script.asked} == {2}
    assert script.seen[0].headers["origin"] == "https://example.com"
    assert metrics.registry.get_sample_value("gateway_upstream_concurrency_limit") == 2.0
