"""Writes and purges that Redis missed are replayed, and what a replay shows of other gateways is applied."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.breaker import State
from gateway.cache.invalidation import Drop, Throttled
from gateway.cache.redis import retry_replayer
from gateway.cache.redis.errors import FailureKind, RedisFailed
from gateway.cache.redis.layout import TICKS
from gateway.cache.redis.retry_queue import MAX_USER_KINDS, Undelivered
from gateway.cache.redis.writes import Replayed, Writes
from gateway.cache.write_rule import ACCEPTED, UNCHANGED, UNKNOWN, Outcome
from gateway.model import Id, Kind, Partition, User, UserKind
from tests.cache.redis.harness import (
    ALBUMS,
    DISLIKED,
    GERMAN,
    LIBRARY,
    LIKED,
    ONE,
    OTHER,
    THREE,
    TWO,
    USER,
    WRITE_SECONDS,
    Side,
    asks_apple,
    cut_off,
    side_of,
)
from tests.cache.redis.scripted import Command, ScriptedRedis, echo
from tests.faultproxy import Direction, FaultProxy, Latency, Timeout
from tests.ports import free_port
from tests.redis_server import RedisServer
from tests.waiting import until

pytestmark = pytest.mark.redis_server


@pytest.fixture
def late_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an attempt that failed, the retry queue is not delivered within the test."""
    monkeypatch.setattr(retry_replayer, "RETRY_SECONDS", 3600.0)
    monkeypatch.setattr(retry_replayer.RetryReplayer, "node_changed", lambda _: None)


def current_task_name() -> str:
    task = asyncio.current_task()
    assert task is not None
    return task.get_name()


async def reconnect_and_deliver(proxy: FaultProxy, side: Side) -> None:
    await proxy.up()
    await until(lambda: side.link.state is State.CLOSED and not side.store.undelivered)


async def test_a_write_that_redis_missed_is_delivered_on_its_return(
    far: Side, near: Side, proxy: FaultProxy
) -> None:
    await near.keep(ALBUMS, {ONE: DISLIKED, TWO: None})
    await near.keep(GERMAN, {ONE: DISLIKED})
    await near.keep(LIBRARY, {ONE: DISLIKED})
    before = await near.look(ALBUMS, THREE)
    await cut_off(proxy, far)
    assert await far.write(ALBUMS, ONE, LIKED) is None
    await reconnect_and_deliver(proxy, far)
    lookup = await near.look(ALBUMS, ONE, TWO)
    assert list(lookup.entries) == [TWO]
    assert ONE in lookup.pending
    assert not (await near.look(GERMAN, ONE)).entries
    assert asks_apple((await near.look(LIBRARY, ONE)), ONE)
    assert isinstance(before.shared_version, bytes)
    assert await near.store.fill(ALBUMS, before.shared_version, {THREE: None}) is False


async def test_what_redis_missed_is_delivered_as_soon_as_it_is_back(
    far: Side, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry_replayer, "RETRY_SECONDS", 3600.0)
    await cut_off(proxy, far)
    await far.write(ALBUMS, ONE, LIKED)
    await proxy.up()
    await until(lambda: not far.store.undelivered)
    assert far.link.state is State.OPEN  # lookups wait for what other gateways deliver


async def test_a_delivery_that_costs_the_connection_is_not_repeated_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retry_replayer, "RETRY_SECONDS", 3600.0)

    async def without_scripts(command: Command) -> bytes | None:
        return None if command[0] == b"EVALSHA" else await echo(command)

    async with ScriptedRedis() as redis, side_of(f"redis://127.0.0.1:{redis.port}") as side:
        redis.respond = without_scripts
        await side.store.begin((USER.key, Kind.ALBUMS), ONE, WRITE_SECONDS)
        # The write costs the first connection, an attempt to deliver it the second.
        await until(lambda: redis.connections == 3 and side.link.state is State.CLOSED)
        for _ in range(10):
            await side.store.publish(Throttled(1.0))
        assert redis.connections == 3


def restart_with_its_data(server: RedisServer) -> None:
    with server.client() as client:
        client.shutdown(save=True)
    server.kill()
    server.start()


@pytest.mark.parametrize("away", ["frozen", "restarted"])
async def test_a_redis_that_comes_back_with_its_data_shows_no_rating_from_before_a_write_that_it_missed(
    mortal: RedisServer, away: str
) -> None:
    async with (
        FaultProxy("127.0.0.1", mortal.port) as proxy,
        side_of(f"redis://127.0.0.1:{proxy.port}", gateway_id="writer", listening=True) as writer,
        side_of(mortal.url, gateway_id="reader", listening=True) as reader,
    ):
        await reader.keep(ALBUMS, {ONE: DISLIKED})
        await proxy.down()  # the writer connects after the reader
        await until(lambda: writer.link.state is State.OPEN)
        assert await writer.write(ALBUMS, ONE, LIKED) is None
        if away == "frozen":
            mortal.pause()
            await until(lambda: reader.link.state is State.OPEN)
            mortal.resume()
        else:
            restart_with_its_data(mortal)
        await until(lambda: reader.reasons[-1] == "missed writes are being replayed")
        assert await reader.seen(ALBUMS, ONE) == "miss"
        await proxy.up()
        await until(lambda: not writer.store.undelivered)
        await until(lambda: reader.link.state is State.CLOSED)
        lookup = await reader.look(ALBUMS, ONE)
        assert ONE in lookup.pending
        assert not lookup.entries


@pytest.mark.usefixtures("late_retries")
async def test_until_a_missed_write_is_delivered_what_it_changed_is_ignored(
    far: Side, near: Side, proxy: FaultProxy
) -> None:
    await near.keep(ALBUMS, {ONE: DISLIKED, TWO: None})
    await near.keep(LIBRARY, {ONE: DISLIKED})
    await cut_off(proxy, far)
    await far.write(ALBUMS, ONE, LIKED)
    await proxy.up()
    await until(lambda: far.link.state is State.CLOSED)
    lookup = await far.look(ALBUMS, ONE, TWO)
    assert lookup.shared_version is None
    assert list(lookup.entries) == [TWO]
    assert (await far.look(ALBUMS, TWO)).shared_version == b"0"
    paired = await far.look(LIBRARY, ONE)
    assert paired.shared_version is None
    assert asks_apple(paired, ONE)
    assert await far.store.fill(ALBUMS, b"0", {ONE: DISLIKED}) is None
    assert await far.store.fill(ALBUMS, b"0", {ONE: DISLIKED, TWO: LIKED}) is True
    assert await near.seen(ALBUMS, ONE) == DISLIKED


async def test_a_write_begun_without_redis_and_ended_with_it_is_held(
    far: Side, near: Side, proxy: FaultProxy
) -> None:
    await near.keep(ALBUMS, {ONE: DISLIKED})
    await cut_off(proxy, far)
    stamp = await far.store.begin((USER.key, Kind.ALBUMS), ONE, WRITE_SECONDS)
    assert stamp is None
    await reconnect_and_deliver(proxy, far)
    assert await far.store.end((USER.key, Kind.ALBUMS), ONE, stamp, LIKED) is True
    assert await near.seen(ALBUMS, ONE) == LIKED


async def test_a_write_begun_with_redis_and_ended_without_it_leaves_the_rating_open(
    far: Side, near: Side, proxy: FaultProxy
) -> None:
    stamp = await far.store.begin((USER.key, Kind.ALBUMS), ONE, WRITE_SECONDS)
    await cut_off(proxy, far)
    assert await far.store.end((USER.key, Kind.ALBUMS), ONE, stamp, LIKED) is None
    await reconnect_and_deliver(proxy, far)
    assert await near.seen(ALBUMS, ONE) == "miss"
    assert await near.write(ALBUMS, ONE, DISLIKED) is True
    assert await near.seen(ALBUMS, ONE) == DISLIKED


@pytest.fixture
async def listening(proxy: FaultProxy) -> AsyncIterator[Side]:
    """Like `far`, and subscribed."""
    async with side_of(f"redis://127.0.0.1:{proxy.port}", gateway_id="far", listening=True) as side:
        yield side


@pytest.mark.parametrize("value", [LIKED, UNKNOWN])
async def test_a_replay_reports_a_write_of_another_that_it_missed(
    listening: Side, near: Side, proxy: FaultProxy, value: Outcome
) -> None:
    await cut_off(proxy, listening)
    await listening.write(ALBUMS, ONE, DISLIKED)
    await near.write(ALBUMS, ONE, value)
    await reconnect_and_deliver(proxy, listening)
    assert Drop(USER.key, Kind.ALBUMS, (ONE,)) in listening.received
    assert await near.seen(ALBUMS, ONE) == "miss"


A_TICK = 1.5 / TICKS
"""Longer than that by which times of holds are rounded: within it, nobody knows which write was later."""


async def test_a_replay_reports_no_write_of_another_that_came_before(
    listening: Side, near: Side, proxy: FaultProxy
) -> None:
    await near.write(ALBUMS, ONE, LIKED)
    await asyncio.sleep(A_TICK)
    await cut_off(proxy, listening)
    listening.received.clear()
    await listening.write(ALBUMS, ONE, DISLIKED)
    await reconnect_and_deliver(proxy, listening)
    assert listening.received == []


async def test_a_replay_reports_no_write_of_its_own(listening: Side, proxy: FaultProxy) -> None:
    await listening.write(ALBUMS, ONE, LIKED)
    await asyncio.sleep(A_TICK)
    stamp = await listening.store.begin((USER.key, Kind.ALBUMS), ONE, WRITE_SECONDS)
    await cut_off(proxy, listening)
    await listening.store.end((USER.key, Kind.ALBUMS), ONE, stamp, DISLIKED)
    await listening.write(ALBUMS, ONE, UNKNOWN)
    await reconnect_and_deliver(proxy, listening)
    assert listening.received == []


async def test_a_slow_replay_reports_no_earlier_write_of_its_own(listening: Side, proxy: FaultProxy) -> None:
    await listening.write(ALBUMS, ONE, LIKED)
    await cut_off(proxy, listening)
    await listening.write(ALBUMS, ONE, DISLIKED)
    proxy.add(Latency(0.3))
    await reconnect_and_deliver(proxy, listening)
    assert listening.received == []


async def test_a_replay_reports_no_own_write_that_left_the_rating_unknown(
    listening: Side, proxy: FaultProxy
) -> None:
    await listening.write(ALBUMS, ONE, DISLIKED)
    await asyncio.sleep(A_TICK)
    await listening.write(ALBUMS, ONE, UNKNOWN)
    await cut_off(proxy, listening)
    await listening.write(ALBUMS, ONE, UNCHANGED)
    await reconnect_and_deliver(proxy, listening)
    assert listening.received == []


async def test_a_replay_reports_no_own_write_under_way_after_one_that_left_the_rating_unknown(
    listening: Side, proxy: FaultProxy
) -> None:
    await listening.write(ALBUMS, ONE, UNKNOWN)
    stamp = await listening.store.begin((USER.key, Kind.ALBUMS), ONE, WRITE_SECONDS)
    await cut_off(proxy, listening)
    await listening.store.end((USER.key, Kind.ALBUMS), ONE, stamp, DISLIKED)
    await reconnect_and_deliver(proxy, listening)
    assert listening.received == []


@pytest.mark.parametrize("outcome", [LIKED, UNKNOWN])
async def test_a_replay_reports_no_own_end_that_redis_carried_out_late(
    listening: Side, near: Side, proxy: FaultProxy, outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unsent(*_: object) -> None:
        raise RedisFailed(FailureKind.CONNECTION)

    user_kind = (USER.key, Kind.ALBUMS)
    await listening.write(ALBUMS, ONE, DISLIKED)
    stamp = await listening.store.begin(user_kind, ONE, WRITE_SECONDS)
    lost = proxy.add(Timeout(), Direction.UPSTREAM)
    with monkeypatch.context() as until_cut_off:
        until_cut_off.setattr(retry_replayer.RetryReplayer, "replay", unsent)
        assert await listening.store.end(user_kind, ONE, stamp, outcome) is None
        await cut_off(proxy, listening)
    await listening.write(ALBUMS, ONE, DISLIKED)
    # In place of Redis, which reads what was sent to it only now.
    await near.store.end(user_kind, ONE, stamp, outcome)
    proxy.remove(lost)
    await reconnect_and_deliver(proxy, listening)
    assert listening.received == []


async def test_a_replay_reports_a_write_of_another_before_one_of_it_that_is_under_way(
    listening: Side, near: Side, proxy: FaultProxy
) -> None:
    await cut_off(proxy, listening)
    await listening.write(ALBUMS, ONE, DISLIKED)
    await near.write(ALBUMS, ONE, ACCEPTED)
    await near.store.begin((USER.key, Kind.ALBUMS), ONE, WRITE_SECONDS)
    await reconnect_and_deliver(proxy, listening)
    assert Drop(USER.key, Kind.ALBUMS, (ONE,)) in listening.received


async def test_a_write_that_began_without_redis_is_not_held_if_another_was_written_meanwhile(
    listening: Side, near: Side, proxy: FaultProxy
) -> None:
    await cut_off(proxy, listening)
    stamp = await listening.store.begin((USER.key, Kind.ALBUMS), ONE, WRITE_SECONDS)
    await near.write(ALBUMS, ONE, LIKED)
    await reconnect_and_deliver(proxy, listening)
    assert Drop(USER.key, Kind.ALBUMS, (ONE,)) in listening.received
    assert await listening.store.end((USER.key, Kind.ALBUMS), ONE, stamp, DISLIKED) is False
    assert await near.seen(ALBUMS, ONE) == "miss"


@pytest.mark.usefixtures("late_retries")
async def test_a_later_write_that_was_delivered_is_not_undone_by_the_retry_queue(
    far: Side, near: Side, proxy: FaultProxy
) -> None:
    await cut_off(proxy, far)
    await far.write(ALBUMS, ONE, LIKED)
    await proxy.up()
    await until(lambda: far.link.state is State.CLOSED)
    assert await far.write(ALBUMS, ONE, DISLIKED) is True
    assert not far.store.undelivered
    assert await near.seen(ALBUMS, ONE) == DISLIKED


async def test_without_a_connection_a_write_prepares_no_replay_of_the_queue(
    far: Side, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    preparing: list[str] = []

    async def replay(self: Writes, user_kind: UserKind, undelivered: Undelivered) -> Replayed:
        del self, user_kind, undelivered
        preparing.append(current_task_name())
        raise RedisFailed(FailureKind.CONNECTION)

    monkeypatch.setattr(Writes, "replay", replay)
    await cut_off(proxy, far)
    for id_ in (ONE, TWO, THREE):
        await far.write(ALBUMS, id_, LIKED)
    assert "redis begin" not in preparing


async def test_a_purge_that_redis_missed_is_delivered_on_its_return(
    far: Side, near: Side, proxy: FaultProxy
) -> None:
    await near.keep(ALBUMS, {ONE: LIKED, TWO: None})
    await near.keep(GERMAN, {ONE: LIKED})
    await cut_off(proxy, far)
    assert await far.store.purge(USER.key, None, None) is False
    assert (await far.look(ALBUMS, ONE)).shared_version is None
    await reconnect_and_deliver(proxy, far)
    for partition in (ALBUMS, GERMAN):
        assert not (await near.look(partition, ONE, TWO)).entries


async def test_a_purge_of_one_id_that_redis_missed_leaves_the_others(
    far: Side, near: Side, proxy: FaultProxy
) -> None:
    await near.keep(ALBUMS, {ONE: LIKED, TWO: None})
    await cut_off(proxy, far)
    await far.store.purge(USER.key, Kind.ALBUMS, [ONE])
    await reconnect_and_deliver(proxy, far)
    assert list((await near.look(ALBUMS, ONE, TWO)).entries) == [TWO]


@pytest.mark.parametrize("ids", [None, [ONE]], ids=["whole", "named"])
async def test_a_purge_that_redis_missed_does_not_void_a_write_under_way(
    far: Side, near: Side, proxy: FaultProxy, ids: list[Id] | None
) -> None:
    stamp = await far.store.begin((USER.key, Kind.ALBUMS), ONE, WRITE_SECONDS)
    await cut_off(proxy, far)
    assert await far.store.purge(USER.key, Kind.ALBUMS, ids) is False
    await reconnect_and_deliver(proxy, far)
    assert await far.store.end((USER.key, Kind.ALBUMS), ONE, stamp, LIKED) is True
    assert await near.seen(ALBUMS, ONE) == LIKED


@pytest.mark.parametrize("ids", [None, [ONE]], ids=["whole", "named"])
async def test_a_purge_that_redis_missed_leaves_the_hold_of_a_write(
    far: Side, near: Side, proxy: FaultProxy, ids: list[Id] | None
) -> None:
    await near.write(ALBUMS, ONE, LIKED)
    await cut_off(proxy, far)
    await far.store.purge(USER.key, Kind.ALBUMS, ids)
    await reconnect_and_deliver(proxy, far)
    assert await near.seen(ALBUMS, ONE) == LIKED
    assert await far.seen(ALBUMS, ONE) == LIKED


async def test_a_write_that_redis_missed_beside_a_purge_still_counts_as_overlapping(
    far: Side, near: Side, proxy: FaultProxy
) -> None:
    stamp = await near.store.begin((USER.key, Kind.ALBUMS), ONE, WRITE_SECONDS)
    await cut_off(proxy, far)
    await far.write(ALBUMS, ONE, DISLIKED)
    await far.store.purge(USER.key, Kind.ALBUMS, None)
    await reconnect_and_deliver(proxy, far)
    assert await near.store.end((USER.key, Kind.ALBUMS), ONE, stamp, LIKED) is False
    assert await near.seen(ALBUMS, ONE) == "miss"


@pytest.mark.usefixtures("late_retries")
async def test_until_a_missed_purge_of_a_type_is_delivered_redis_is_ignored_for_it(
    far: Side, near: Side, proxy: FaultProxy
) -> None:
    await near.keep(ALBUMS, {ONE: LIKED})
    await cut_off(proxy, far)
    await far.store.purge(USER.key, Kind.ALBUMS, None)
    await proxy.up()
    await until(lambda: far.link.state is State.CLOSED)
    assert await far.look(ALBUMS, ONE) == await far.look(ALBUMS, TWO)
    assert (await far.look(ALBUMS, ONE)).shared_version is None
    assert await far.store.fill(ALBUMS, b"0", {ONE: None}) is None


async def test_at_shutdown_what_waits_is_delivered_if_redis_is_connected(
    far: Side, near: Side, proxy: FaultProxy
) -> None:
    await near.keep(ALBUMS, {ONE: DISLIKED})
    await cut_off(proxy, far)
    await far.write(ALBUMS, ONE, LIKED)
    await proxy.up()
    await until(lambda: far.link.state is State.CLOSED)
    await far.store.replayer.flush(5)
    assert not far.store.undelivered
    assert await near.seen(ALBUMS, ONE) == "miss"


async def test_at_shutdown_redis_is_not_waited_for_without_a_connection_or_anything_to_deliver(
    far: Side, proxy: FaultProxy
) -> None:
    async with asyncio.timeout(5):
        await far.store.replayer.flush(3600)
        await cut_off(proxy, far)
        await far.write(ALBUMS, ONE, LIKED)
        await far.store.replayer.flush(3600)
    assert far.store.undelivered


@pytest.mark.usefixtures("late_retries")
async def test_at_shutdown_redis_is_waited_for_no_longer_than_said(far: Side, proxy: FaultProxy) -> None:
    await cut_off(proxy, far)
    await far.write(ALBUMS, ONE, LIKED)
    await proxy.up()
    await until(lambda: far.link.state is State.CLOSED)
    async with asyncio.timeout(5):
        await far.store.replayer.flush(0.05)
    assert far.store.undelivered


async def test_more_than_the_retry_queue_holds_is_counted() -> None:
    async with side_of(f"redis://127.0.0.1:{free_port()}") as side:
        for number in range(MAX_USER_KINDS + 1):
            await side.store.begin((b"%016d" % number, Kind.ALBUMS), ONE, WRITE_SECONDS)
        assert (side.errors("backlog"), side.store.undelivered) == (1, MAX_USER_KINDS)


async def test_a_write_that_cannot_be_delivered_does_not_block_the_others(
    far: Side, near: Side, proxy: FaultProxy, server: RedisServer
) -> None:
    await near.keep(LIBRARY, {ONE: LIKED})
    await cut_off(proxy, far)
    await far.write(ALBUMS, ONE, LIKED)
    await far.write(Partition(OTHER, Kind.SONGS), ONE, LIKED)
    with server.client() as client:
        user = ("ACL", "SETUSER", "default")
        client.execute_command(*user, "resetkeys", f"~*{OTHER.key.hex()}*")  # only the other user's keys
        await proxy.up()
        await until(lambda: far.store.undelivered == 1)
        client.execute_command(*user, "~*")
    await until(lambda: not far.store.undelivered)
    assert asks_apple(await near.look(LIBRARY, ONE), ONE)


async def test_writes_of_many_users_that_redis_missed_are_replayed_side_by_side(mortal: RedisServer) -> None:
    async with (
        FaultProxy("127.0.0.1", mortal.port) as proxy,
        side_of(f"redis://127.0.0.1:{proxy.port}") as side,
    ):
        mortal.kill()
        await until(lambda: side.link.state is State.OPEN)
        for number in range(300):
            await side.store.begin((User.of(f"user {number}").key, Kind.ALBUMS), ONE, WRITE_SECONDS)
        assert side.store.undelivered == 300
        proxy.add(Latency(0.05))
        mortal.start()
        await until(lambda: side.link.state is State.CLOSED)
        assert await until(lambda: not side.store.undelivered) < 5.0  # one by one they take 15 s
