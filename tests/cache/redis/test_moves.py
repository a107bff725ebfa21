"""A subscription that moves while another one is being opened: exactly one stays open, and without a gap."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.cache.redis import pubsub
from gateway.cache.redis.commands import Commands
from gateway.cache.redis.connect import Opener, Tls
from gateway.cache.redis.connection import RedisConnection
from gateway.cache.redis.dispatcher import BACKOFF_SECONDS
from gateway.cache.redis.heartbeat import Heartbeat
from gateway.cache.redis.layout import Keys
from gateway.cache.redis.pubsub import Subscriber
from gateway.cache.redis.topology import Single
from gateway.cache.redis.url import parse_url
from gateway.resolver import Resolver
from gateway.tasks import Tasks
from gateway.telemetry.metrics import Metrics
from tests.cache.redis.harness import limits
from tests.cache.redis.scripted import bulk
from tests.hand_clock import HandClock
from tests.waiting import until

TRUST = 1.0
LONG = (3600.0,) * len(BACKOFF_SECONDS)
"""Waits between attempts to subscribe that outlast every test."""


class Wire(asyncio.Transport):
    """Confirms each subscription once the server says so."""

    def __init__(self, connection: RedisConnection, confirms: asyncio.Event) -> None:
        super().__init__()
        self.open = True
        self._connection = connection
        self._confirms = confirms

    def write(self, data: Any) -> None:
        assert data.split(b"\r\n")[2] == b"SUBSCRIBE"
        self.confirming = asyncio.get_running_loop().create_task(self._confirm())

    def abort(self) -> None:
        self.open = False

    def receive(self, *words: bytes) -> None:
        self._connection.data_received(b"*%d\r\n" % len(words) + b"".join(map(bulk, words)))

    def lose(self) -> None:
        self._connection.connection_lost(None)

    async def _confirm(self) -> None:
        await self._confirms.wait()
        self.receive(b"subscribe", b"ratings:news", b"1")


class Server(Opener):
    """Opens connections once `accepts` is set, and confirms subscriptions once `confirms` is."""

    def __init__(self, password: str) -> None:
        super().__init__(parse_url(f"redis://:{password}@127.0.0.1"), Tls(), Resolver())
        self.accepts, self.confirms = asyncio.Event(), asyncio.Event()
        self.accepts.set()
        self.confirms.set()
        self.refuses = False
        self.asked = 0
        self.wires: list[Wire] = []

    async def open(self, *_: Any, **__: Any) -> RedisConnection:
        self.asked += 1
        await self.accepts.wait()
        if self.refuses:
            raise ConnectionError("refused")
        connection = RedisConnection()
        self.wires.append(Wire(connection, self.confirms))
        connection.connection_made(self.wires[-1])
        return connection

    @property
    def open_now(self) -> list[bool]:
        """Of each connection, whether it is open."""
        return [wire.open for wire in self.wires]


class Moving:
    """A gateway's subscriber, and the servers that it is moved to."""

    def __init__(self) -> None:
        self.tasks = Tasks(lambda name, error: None)
        self.clock = HandClock()
        self.servers: list[Server] = []
        self.first = self.server("first")
        self.commands, keys = Commands(Metrics()), Keys("ratings")
        self.commands.topology = self.on(self.first)
        self.heartbeat = Heartbeat(
            self.commands, keys.beat("one"), limits(trust_seconds=TRUST), self.clock, Metrics()
        )
        self.subscriber = Subscriber(
            self.commands, self.heartbeat, keys, gateway_id="one", clock=self.clock, metrics=Metrics()
        )

    def server(self, password: str) -> Server:
        self.servers.append(Server(password))
        return self.servers[-1]

    def on(self, server: Server) -> Single:
        return Single(server, self.tasks, lambda: None, lambda _: None)

    def listen(self) -> asyncio.Task[None]:
        return self.tasks.spawn("listen", self.subscriber.listen(lambda _: None, lambda *_, **__: None))

    def begin_move(self, server: Server, *, same_server: bool = True) -> asyncio.Task[None]:
        self.commands.topology = self.on(server)
        return self.tasks.spawn("move", self.subscriber.move(same_server=same_server))

    def beat(self, server: Server) -> None:
        """Let a heartbeat come back that was sent just now."""
        content = f"{self.clock.monotonic()!r} "
        server.wires[-1].receive(b"message", b"ratings:beat:one", content.encode())

    def trusted_since(self) -> float:
        return self.heartbeat.trusted_since(self.clock.monotonic())

    async def wait_in_backoff(self) -> None:
        """Listen, and wait until the first attempt to subscribe has failed."""
        self.first.refuses = True
        self.listen()
        await until(lambda: self.first.asked == 1)
        await asyncio.sleep(0)


@pytest.fixture
async def moving(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Moving]:
    monkeypatch.setattr(pubsub, "BACKOFF_SECONDS", LONG)
    moving = Moving()
    yield moving
    await moving.tasks.cancel()
    moving.subscriber.close()
    assert not any(wire.open for server in moving.servers for wire in server.wires)


async def test_a_subscription_that_was_not_taken_closes_when_the_next_is_up(moving: Moving) -> None:
    second, third = moving.server("second"), moving.server("third")
    await moving.wait_in_backoff()
    await moving.begin_move(second)
    assert second.open_now == [True]
    third.confirms.clear()
    following = moving.begin_move(third)
    await until(lambda: third.wires)
    assert second.open_now == [True]  # it receives what is published meanwhile
    third.confirms.set()
    await following
    assert (second.open_now, third.open_now) == ([False], [True])


async def test_a_subscription_that_was_not_taken_closes_if_the_next_fails(moving: Moving) -> None:
    second, third = moving.server("second"), moving.server("third")
    await moving.wait_in_backoff()
    await moving.begin_move(second)
    third.refuses = True
    await moving.begin_move(third)
    assert second.open_now == [False]


async def test_a_subscription_that_was_not_taken_closes_when_the_server_changes(moving: Moving) -> None:
    second = moving.server("second")
    await moving.wait_in_backoff()
    await moving.begin_move(second)
    await moving.begin_move(moving.server("third"), same_server=False)
    assert second.open_now == [False]


async def test_a_subscription_that_was_not_taken_closes_with_the_subscriber(moving: Moving) -> None:
    second = moving.server("second")
    await moving.wait_in_backoff()
    await moving.begin_move(second)
    assert second.open_now == [True]
    await moving.tasks.cancel()
    moving.subscriber.close()
    assert second.open_now == [False]


@pytest.mark.parametrize("same_server", [True, False])
async def test_a_move_outruns_an_attempt_to_subscribe(moving: Moving, *, same_server: bool) -> None:
    second = moving.server("second")
    moving.first.accepts.clear()
    moving.listen()
    await until(lambda: moving.first.asked == 1)
    await moving.begin_move(second, same_server=same_server)
    moving.first.accepts.set()
    await until(lambda: moving.first.open_now == [False])
    await until(lambda: second.open_now == [True])
    assert moving.first.asked == second.asked == 1


@pytest.mark.parametrize("lost", [False, True])
async def test_entries_stay_trusted_only_if_the_old_subscription_lasted_until_the_new_one_was_up(
    moving: Moving, *, lost: bool
) -> None:
    second = moving.server("second")
    moving.listen()
    await until(lambda: moving.first.open_now == [True])
    await moving.first.wires[0].confirming
    began = moving.clock.monotonic()
    for _ in range(10):
        moving.beat(moving.first)
        moving.clock.move(TRUST / 2)
    assert moving.trusted_since() == began
    if lost:
        moving.first.wires[0].lose()
    await moving.begin_move(second)
    for _ in range(3):
        moving.beat(second)
    assert moving.trusted_since() == (moving.clock.monotonic() - TRUST if lost else began)


async def test_a_cancelled_move_leaves_the_subscription_in_use(moving: Moving) -> None:
    second = moving.server("second")
    moving.listen()
    await until(lambda: moving.first.open_now == [True])
    second.confirms.clear()
    cancelled = moving.begin_move(second)
    await until(lambda: second.wires)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    assert (moving.first.open_now, second.open_now) == ([True], [False])
