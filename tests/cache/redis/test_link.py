"""The link to Redis: start, state, and its replacement while requests are served."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from gateway.breaker import State
from gateway.cache.invalidation import Drop, Throttled
from gateway.cache.redis.connect import Tls
from gateway.model import Kind
from tests.cache.redis.harness import ALBUMS, DISLIKED, LIKED, ONE, TWO, USER, Side, side_of
from tests.faultproxy import FaultProxy, Latency
from tests.ports import free_port
from tests.redis_server import RedisServer
from tests.waiting import until

pytestmark = pytest.mark.redis_server

TRUST = 0.2


@pytest.fixture(scope="module")
def first() -> Iterator[RedisServer]:
    with RedisServer("--user", "gateway", "on", ">old", "~*", "&*", "+@all") as server:
        yield server


@pytest.fixture(scope="module")
def second() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
async def side(first: RedisServer, second: RedisServer) -> AsyncIterator[Side]:
    for server in (first, second):
        with server.client() as client:
            client.flushall()
    set_password(first, "old")
    async with side_of(url_of(first, "old"), trust_seconds=TRUST, listening=True) as side:
        yield side


def set_password(server: RedisServer, password: str) -> None:
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "gateway", "resetpass", f">{password}")


def url_of(server: RedisServer, password: str) -> str:
    return f"redis://gateway:{password}@127.0.0.1:{server.port}"


def clients(server: RedisServer) -> set[str]:
    """Ids of the gateway's connections."""
    with server.client() as client:
        return {each["id"] for each in client.client_list() if each["user"] == "gateway"}


async def test_stopping_a_gateway_does_not_report_redis_as_away(server: RedisServer) -> None:
    async with side_of(server.url) as side:
        assert side.breaker == State.CLOSED
    assert side.states[-1] is State.CLOSED


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
async def test_a_redis_that_never_answered_is_reported_as_away(scheme: str) -> None:
    async with side_of(f"{scheme}://127.0.0.1:{free_port()}") as side:
        assert side.breaker == State.OPEN


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
async def test_attempts_to_connect_that_are_refused_are_counted_and_their_reason_is_reported(
    scheme: str,
) -> None:
    async with side_of(f"{scheme}://127.0.0.1:{free_port()}") as side:
        await until(lambda: side.errors("connection") >= 3)
        assert side.errors("unavailable") == 0
        assert str(side.reasons[-1]).startswith("connection: ")


async def test_attempts_to_connect_to_a_stopped_redis_are_counted_as_timeouts() -> None:
    with RedisServer() as stopped:
        stopped.pause()
        async with side_of(stopped.url) as side:
            await until(lambda: side.errors("timeout") >= 1)
            assert side.reasons[-1] == "timeout"
            await side.look(ALBUMS, ONE)
            assert (side.errors("unavailable"), side.errors("connection")) == (1, 0)
        stopped.resume()


async def test_the_reason_of_a_lost_connection_ends_with_the_next(server: RedisServer) -> None:
    async with (
        FaultProxy("127.0.0.1", server.port) as proxy,
        side_of(f"redis://127.0.0.1:{proxy.port}") as side,
    ):
        assert side.reasons[-1] is None
        await proxy.down()
        await until(lambda: side.link.state is State.OPEN)
        assert side.reasons[-1] is not None
        await proxy.up()
        await until(lambda: side.link.state is State.CLOSED)
        assert side.reasons[-1] is None


async def test_a_malformed_url_is_an_error_at_once() -> None:
    with pytest.raises(ValueError, match="scheme"):
        async with side_of("http://127.0.0.1"):
            pass


async def test_redis_is_away_since_it_stopped_answering_not_since_the_last_attempt() -> None:
    with RedisServer() as mortal:
        async with side_of(mortal.url, lookup_seconds=0.01) as side:
            up_since = side.link.state_since
            mortal.pause()
            while side.link.state is State.CLOSED:
                await side.look(ALBUMS, ONE)
            away_since = side.link.state_since
            assert away_since > up_since
            reported = len(side.states)
            await until(lambda: len(side.states) > reported)  # the stalled connection is closed
            assert side.link.state_since == away_since
            mortal.resume()
            async with asyncio.timeout(5):
                while side.breaker != State.CLOSED:
                    await side.look(ALBUMS, ONE)
                    await asyncio.sleep(0)
            assert side.link.state_since > away_since


async def open_breaker(side: Side) -> None:
    """Look up at a node that does not answer until lookups are refused."""
    while side.link.state is State.CLOSED:
        await side.look(ALBUMS, ONE)


@pytest.mark.parametrize("away", [0.0, 1.5])
async def test_without_lookups_the_breaker_closes_when_redis_answers_again(away: float) -> None:
    """After a pause that the connection survives, and after one that it does not."""
    with RedisServer() as frozen:
        async with side_of(frozen.url, lookup_seconds=0.05, listening=True) as side:
            frozen.pause()
            await open_breaker(side)
            paused = time.monotonic()
            await until(lambda: time.monotonic() > paused + away)
            frozen.resume()
            assert await until(lambda: side.link.state is State.CLOSED) < 4


async def test_without_lookups_the_breaker_stays_open_while_redis_is_slow(server: RedisServer) -> None:
    async with (
        FaultProxy("127.0.0.1", server.port) as proxy,
        side_of(f"redis://127.0.0.1:{proxy.port}", lookup_seconds=0.05, listening=True) as side,
    ):
        slow = proxy.add(Latency(0.2))
        await open_breaker(side)
        reported = len(side.states)
        await until(lambda: side.states[reported:].count(State.HALF_OPEN) == 2)
        assert State.CLOSED not in side.states[reported:]
        assert side.link.subscribed  # heartbeats have more time
        proxy.remove(slow)
        await until(lambda: side.link.state is State.CLOSED)


async def test_a_new_password_is_used_and_old_connections_close(side: Side, first: RedisServer) -> None:
    await side.keep(ALBUMS, {ONE: LIKED})
    set_password(first, "new")
    await side.link.replace(url_of(first, "new"), Tls())
    assert side.link.state is State.CLOSED
    assert await side.seen(ALBUMS, ONE) == LIKED
    await until(lambda: len(clients(first)) == 2)  # requests and subscription
    killed = clients(first)
    with first.client() as client:
        for each in killed:
            client.client_kill_filter(_id=each)
    await until(lambda: len(clients(first) - killed) == 2)
    await until(lambda: side.link.state is State.CLOSED)
    assert await side.seen(ALBUMS, ONE) == LIKED


async def test_new_credentials_keep_local_trust(side: Side, first: RedisServer) -> None:
    began = time.monotonic()
    await until(lambda: time.monotonic() > began + 2 * TRUST)
    trusted = side.link.trusted_since(time.monotonic())
    assert trusted <= began
    set_password(first, "new")
    await side.link.replace(url_of(first, "new"), Tls())
    moved = time.monotonic()
    await until(lambda: time.monotonic() > moved + 2 * TRUST)
    assert side.link.trusted_since(time.monotonic()) == trusted
    assert side.link.subscribed


async def test_invalidations_arrive_during_and_after_a_rotation(side: Side, first: RedisServer) -> None:
    async with side_of(first.url, gateway_id="other") as other:
        set_password(first, "new")
        moving = asyncio.ensure_future(side.link.replace(url_of(first, "new"), Tls()))
        sent = 0
        while not moving.done() or sent < 20:
            sent += 1
            await other.store.publish(Throttled(float(sent)))
        await moving
        await until(lambda: Throttled(float(sent)) in side.received)
        assert {Throttled(float(number)) for number in range(1, sent + 1)} <= set(side.received)


async def test_another_server_ends_local_trust(side: Side, second: RedisServer) -> None:
    before = time.monotonic()
    await side.link.replace(second.url, Tls())
    assert side.link.trusted_since(time.monotonic()) > before
    await until(lambda: side.link.subscribed)
    assert side.link.trusted_since(time.monotonic()) > before


async def test_another_server_learns_what_was_written_while_other_gateways_had_already_moved(
    side: Side, first: RedisServer, second: RedisServer
) -> None:
    async with side_of(second.url, gateway_id="moved", listening=True) as moved:
        await moved.keep(ALBUMS, {ONE: DISLIKED, TWO: DISLIKED})
        assert await side.write(ALBUMS, ONE, LIKED)
        await side.link.replace(second.url, Tls())
        assert await side.seen(ALBUMS, ONE) == "miss"  # delivered or not
        await until(lambda: not side.store.undelivered)
        assert [await moved.seen(ALBUMS, id_) for id_ in (ONE, TWO)] == ["miss", DISLIKED]
        await until(lambda: Drop(USER.key, Kind.ALBUMS, (ONE,)) in moved.received)


async def test_a_move_reports_what_another_gateway_wrote_later_on_the_new_server(
    side: Side, first: RedisServer, second: RedisServer
) -> None:
    await side.write(ALBUMS, ONE, LIKED)
    await side.write(ALBUMS, TWO, LIKED)
    async with side_of(second.url, gateway_id="moved") as moved:
        await moved.write(ALBUMS, ONE, DISLIKED)
        await side.link.replace(second.url, Tls())
        await until(lambda: not side.store.undelivered)
        assert side.received == [Drop(USER.key, Kind.ALBUMS, (ONE,))]
        assert await moved.seen(ALBUMS, ONE) == "miss"


async def test_a_server_that_was_used_before_learns_what_was_written_since(
    side: Side, first: RedisServer, second: RedisServer
) -> None:
    await side.keep(ALBUMS, {ONE: DISLIKED})
    await side.link.replace(second.url, Tls())
    assert await side.write(ALBUMS, ONE, LIKED)
    await side.link.replace(url_of(first, "old"), Tls())
    await until(lambda: not side.store.undelivered)
    async with side_of(first.url, gateway_id="other") as other:
        assert await other.seen(ALBUMS, ONE) == "miss"


async def test_new_credentials_repeat_no_write(side: Side, first: RedisServer) -> None:
    assert await side.write(ALBUMS, ONE, LIKED)
    set_password(first, "new")
    await side.link.replace(url_of(first, "new"), Tls())
    assert not side.store.undelivered
    assert await side.seen(ALBUMS, ONE) == LIKED


async def test_another_server_gets_every_later_request(
    side: Side, first: RedisServer, second: RedisServer
) -> None:
    await side.link.replace(second.url, Tls())
    await side.keep(ALBUMS, {ONE: LIKED})
    with first.client() as old, second.client() as new:
        assert not old.dbsize()
        assert new.dbsize()
    await until(lambda: not clients(first))
    async with side_of(second.url, gateway_id="other") as other:
        await until(lambda: side.link.subscribed)
        await other.store.publish(Throttled(1.0))
        await until(lambda: side.received == [Throttled(1.0)])


async def test_requests_in_flight_are_answered_by_the_old_server(
    side: Side, first: RedisServer, second: RedisServer
) -> None:
    await side.keep(ALBUMS, {ONE: LIKED})
    first.pause()
    looking = asyncio.ensure_future(side.seen(ALBUMS, ONE))
    await asyncio.sleep(0)
    await side.link.replace(second.url, Tls())
    assert not looking.done()
    first.resume()
    assert await looking == LIKED


async def test_a_server_that_does_not_answer_is_adopted_all_the_same(side: Side, second: RedisServer) -> None:
    port = free_port()
    await side.link.replace(f"redis://127.0.0.1:{port}", Tls())
    assert side.breaker == State.OPEN
    await side.link.replace(second.url, Tls())
    assert side.breaker == State.CLOSED
    assert await side.keep(ALBUMS, {TWO: None})


async def test_the_same_url_changes_nothing(side: Side, first: RedisServer) -> None:
    before = clients(first)
    await side.link.replace(url_of(first, "old"), Tls())
    assert await side.keep(ALBUMS, {ONE: LIKED})
    assert clients(first) == before


async def test_a_replacement_by_a_malformed_url_changes_nothing(side: Side, first: RedisServer) -> None:
    before = clients(first)
    with pytest.raises(ValueError, match="scheme"):
        await side.link.replace("http://127.0.0.1", Tls())
    assert await side.keep(ALBUMS, {ONE: LIKED})
    assert clients(first) == before


async def test_a_cancelled_replacement_leaves_the_old_server_in_use(
    side: Side, first: RedisServer, second: RedisServer
) -> None:
    second.pause()
    moving = asyncio.ensure_future(side.link.replace(second.url, Tls()))
    await asyncio.sleep(0)
    moving.cancel()
    second.resume()
    with pytest.raises(asyncio.CancelledError):
        await moving
    await side.keep(ALBUMS, {ONE: LIKED})
    with first.client() as client:
        assert client.dbsize()
