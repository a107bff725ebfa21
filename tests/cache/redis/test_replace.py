"""A changed Redis URL is applied while requests are served: rotated credentials, another server."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from gateway.breaker import State
from gateway.cache.invalidation import Throttled
from gateway.cache.redis.connect import Tls
from tests.cache.redis.harness import ALBUMS, LIKED, ONE, TWO, Side, side_of
from tests.redis_server import RedisServer, free_port
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


async def test_a_rotated_password_is_used_and_old_connections_close(side: Side, first: RedisServer) -> None:
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
            await other.tier.publish(Throttled(float(sent)))
        await moving
        await until(lambda: Throttled(float(sent)) in side.heard)
        assert {Throttled(float(number)) for number in range(1, sent + 1)} <= set(side.heard)


async def test_another_server_drops_local_trust(side: Side, second: RedisServer) -> None:
    before = time.monotonic()
    await side.link.replace(second.url, Tls())
    assert side.link.trusted_since(time.monotonic()) > before
    await until(lambda: side.link.subscribed)
    assert side.link.trusted_since(time.monotonic()) > before


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
        await other.tier.publish(Throttled(1.0))
        await until(lambda: side.heard == [Throttled(1.0)])


async def test_requests_under_way_are_answered_by_the_old_server(
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


async def test_a_server_that_does_not_answer_is_taken_all_the_same(side: Side, second: RedisServer) -> None:
    port = free_port()
    await side.link.replace(f"redis://127.0.0.1:{port}", Tls())
    assert side.breaker == State.OPEN
    await side.link.replace(second.url, Tls())
    assert side.breaker == State.CLOSED
    assert await side.keep(ALBUMS, {TWO: None})


async def test_the_same_url_changes_nothing(side: Side, first: RedisServer) -> None:
    nodes = side.nodes
    await side.link.replace(url_of(first, "old"), Tls())
    assert side.nodes == nodes


async def test_a_malformed_url_changes_nothing(side: Side) -> None:
    nodes = side.nodes
    with pytest.raises(ValueError, match="scheme"):
        await side.link.replace("http://127.0.0.1", Tls())
    assert side.nodes == nodes


async def test_a_failed_replacement_closes_its_connections(
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
