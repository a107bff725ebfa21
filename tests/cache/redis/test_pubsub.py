"""Invalidations reach the other gateways at once; gaps and silence end the trust in local entries."""

import time
from collections.abc import AsyncIterator

import pytest

from gateway.breaker import State
from gateway.cache.invalidation import LATE_SECONDS, Drop, DropPaired, Purge, Throttled, encode_message
from gateway.model import Kind
from tests.cache.redis.harness import ALBUMS, LIKED, ONE, TWO, USER, WRITE_SECONDS, Side, side_of
from tests.faultproxy import FaultProxy, Timeout
from tests.redis_server import RedisServer
from tests.waiting import until

pytestmark = pytest.mark.redis_server

TRUST = 0.2


@pytest.fixture
async def one(server: RedisServer) -> AsyncIterator[Side]:
    async with side_of(server.url, listening=True) as side:
        yield side


@pytest.fixture
async def two(server: RedisServer) -> AsyncIterator[Side]:
    async with side_of(server.url, gateway_id="two", listening=True) as side:
        yield side


async def test_a_write_is_published_when_it_begins_and_when_it_ends(one: Side, two: Side) -> None:
    await one.write(ALBUMS, ONE, LIKED)
    took = await until(lambda: len(two.received) == 4)
    assert (
        two.received == [Drop(USER.key, Kind.ALBUMS, (ONE,)), DropPaired(USER.key, Kind.LIBRARY_ALBUMS)] * 2
    )
    assert took < 0.1
    assert not one.received


async def test_a_purge_is_published(one: Side, two: Side) -> None:
    await one.store.purge(USER.key, Kind.SONGS, [ONE])
    await until(lambda: two.received == [Purge(USER.key, Kind.SONGS, (ONE,))])


async def test_throttling_is_published(one: Side, two: Side) -> None:
    await one.store.publish(Throttled(2.0))
    await until(lambda: two.received == [Throttled(2.0)])


async def test_a_subscription_that_receives_nothing_is_reopened(server: RedisServer) -> None:
    async with (
        FaultProxy("127.0.0.1", server.port) as proxy,
        side_of(f"redis://127.0.0.1:{proxy.port}", trust_seconds=TRUST, listening=True) as side,
    ):
        before = proxy.accepted
        hole = proxy.add(Timeout())
        dug = time.monotonic()
        await until(lambda: side.subscription_up == 0)
        now = time.monotonic()
        assert side.link.trusted_since(now) == now - TRUST
        assert not side.link.subscribed
        assert dug <= side.link.subscribed_since <= now
        proxy.remove(hole)
        await until(lambda: side.subscription_up == 1)
        assert side.link.subscribed
        assert now <= side.link.subscribed_since
        assert proxy.accepted > before
        assert side.link.trusted_since(time.monotonic()) >= now - TRUST


async def test_a_subscription_that_is_cut_is_reopened(server: RedisServer) -> None:
    async with (
        FaultProxy("127.0.0.1", server.port) as proxy,
        side_of(f"redis://127.0.0.1:{proxy.port}", trust_seconds=TRUST, listening=True) as side,
        side_of(server.url, gateway_id="two") as other,
    ):
        await proxy.down()
        await until(lambda: side.subscription_up == 0 and side.link.state is State.OPEN)
        await proxy.up()
        assert await until(lambda: side.subscription_up == 1) < 2
        await other.store.publish(Throttled(1.0))
        await until(lambda: side.received == [Throttled(1.0)])


@pytest.mark.parametrize("message", [b"nonsense", b'{"origin":"later","news":[{"type":"unheard-of"}]}'])
async def test_a_message_that_cannot_be_read_ends_the_trust_in_local_entries(
    server: RedisServer, message: bytes
) -> None:
    async with side_of(server.url, trust_seconds=TRUST, listening=True) as side:
        await until(lambda: side.link.trusted_since(time.monotonic()) < time.monotonic() - 2 * TRUST)
        sent = time.monotonic()
        with server.client() as client:
            client.publish("ratings:news", message)
            await until(lambda: side.errors("protocol") == 1)
            await until(lambda: side.link.trusted_since(time.monotonic()) >= sent)
            client.publish("ratings:news", encode_message("three", Throttled(1.0)))
        await until(lambda: side.received == [Throttled(1.0)])


async def test_a_gateway_ignores_its_own_messages(one: Side, two: Side) -> None:
    await one.store.publish(Throttled(1.0))
    await until(lambda: two.received)
    assert not one.received


async def test_one_message_may_carry_several_invalidations(one: Side, server: RedisServer) -> None:
    sent = (Purge(USER.key), Throttled(1.0))
    with server.client() as client:
        client.publish("ratings:news", encode_message("three", *sent))
    await until(lambda: one.received == list(sent))


def numbered(number: int) -> bytes:
    return encode_message("three", Throttled(1.0), sequence=number)


def missed(side: Side) -> float:
    return side.metrics.registry.get_sample_value("gateway_invalidations_missed_total") or 0.0


async def test_a_gap_in_the_numbers_of_a_gateway_ends_the_trust_in_local_entries(
    one: Side, server: RedisServer
) -> None:
    with server.client() as client:
        client.publish("ratings:news", numbered(7))
        await until(lambda: len(one.received) == 1)
        before = time.monotonic()
        await until(lambda: time.monotonic() > before + 1.1)
        trusted_until_now = one.link.trusted_since(time.monotonic()) < before
        client.publish("ratings:news", numbered(10))
    await until(lambda: missed(one) == 2)
    assert trusted_until_now
    assert one.link.trusted_since(time.monotonic()) >= before
    await until(lambda: one.subscription_up == 1)


async def test_numbers_without_a_gap_miss_nothing(one: Side, two: Side) -> None:
    for _ in range(3):
        await two.write(ALBUMS, ONE, LIKED)
    await two.store.purge(USER.key, Kind.ALBUMS, None)
    last = Purge(USER.key, Kind.ALBUMS)
    await until(lambda: last in one.received)
    settled = time.monotonic() + 2 * LATE_SECONDS
    await until(lambda: time.monotonic() > settled)
    assert missed(one) == 0


async def test_a_gateway_has_its_own_announcements_from_the_reply_and_once(server: RedisServer) -> None:
    async with (
        side_of(server.url, sampled=lambda: True, listening=True) as side,
        side_of(server.url, gateway_id="two", listening=True) as other,
    ):
        await side.write(ALBUMS, ONE, LIKED)
        (announced,) = side.announced
        await until(lambda: other.announced == [announced])
        await other.store.publish(Throttled(1.0))
        await until(lambda: side.received == [Throttled(1.0)])  # later, on the same connection
        assert side.announced == [announced]
        assert announced.published <= announced.version


async def test_a_write_that_redis_did_not_confirm_is_announced_to_its_own_gateway_without_a_time(
    server: RedisServer,
) -> None:
    async with (
        FaultProxy("127.0.0.1", server.port) as proxy,
        side_of(f"redis://127.0.0.1:{proxy.port}", sampled=lambda: True, listening=True) as side,
    ):
        await proxy.down()
        await until(lambda: side.link.state is State.OPEN)
        assert await side.write(ALBUMS, ONE, LIKED) is None
        (announced,) = side.announced
        assert (announced.id, announced.published, announced.version) == (ONE, 0, 0)


async def test_a_write_that_overlapped_with_another_is_not_announced(server: RedisServer) -> None:
    async with side_of(server.url, sampled=lambda: True, listening=True) as side:
        place = (USER.key, Kind.ALBUMS)
        first = await side.store.begin(place, ONE, WRITE_SECONDS)
        second = await side.store.begin(place, ONE, WRITE_SECONDS)
        await side.store.end(place, ONE, first, LIKED)
        await side.store.end(place, ONE, second, LIKED)
        await side.write(ALBUMS, TWO, LIKED)
        await until(lambda: bool(side.announced))
        (announced,) = side.announced
        assert announced.id == TWO
        lookup = await side.look(ALBUMS, TWO)
        assert lookup.shared_version == b"%d" % announced.version
        assert announced.begun < announced.published <= announced.version
