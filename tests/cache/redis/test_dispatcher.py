"""Requests share one connection: each gets its own reply or a failure in time, however the server behaves."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest
from redis.exceptions import ResponseError

from gateway.breaker import State
from gateway.cache.redis import dispatcher as module
from gateway.cache.redis.connect import Opener, Tls
from gateway.cache.redis.connection import pack
from gateway.cache.redis.dispatcher import Dispatcher
from gateway.cache.redis.errors import FailureKind, RedisFailed
from gateway.cache.redis.requests import REQUEST_BYTES, Replies
from gateway.cache.redis.url import parse_url
from gateway.resolver import Resolver
from gateway.tasks import Tasks
from tests.cache.redis.scripted import MICROS, TIME, Command, ScriptedRedis, bulk, echo
from tests.redis_server import RedisServer
from tests.waiting import until


@pytest.fixture
async def redis() -> AsyncIterator[ScriptedRedis]:
    async with ScriptedRedis() as redis:
        yield redis


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    faults: list[BaseException] = []
    tasks = Tasks(lambda _name, error: faults.append(error))
    yield tasks
    await tasks.cancel()
    assert not faults


@pytest.fixture
def states() -> list[State]:
    return []


@pytest.fixture
async def node(
    redis: ScriptedRedis, tasks: Tasks, states: list[State], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Dispatcher]:
    monkeypatch.setattr(module, "BREAKER_OPEN_SECONDS", 0.1)
    opener = Opener(parse_url(f"redis://127.0.0.1:{redis.port}"), Tls(), Resolver())
    dispatcher = Dispatcher(
        "test",
        opener.open,
        tasks,
        on_change=lambda: states.append(dispatcher.state),
        on_failure=lambda _: None,
        reopen_on_readonly=True,
    )
    async with dispatcher:
        yield dispatcher


def ask(
    node: Dispatcher, *words: str, timeout: float = 2.0, guarded: bool = False
) -> asyncio.Future[Replies]:
    return node.send(pack(*words), 1, timeout=timeout, guarded=guarded)


async def failure(future: asyncio.Future[Replies]) -> FailureKind:
    with pytest.raises(RedisFailed) as caught:
        await future
    return caught.value.kind


class Gate:
    """Holds every reply back until it is opened."""

    def __init__(self, redis: ScriptedRedis) -> None:
        self.opened = asyncio.Event()
        redis.respond = self.respond

    async def respond(self, command: Command) -> bytes | None:
        await self.opened.wait()
        return await echo(command)


async def test_each_caller_gets_its_own_reply_and_redis_time(node: Dispatcher) -> None:
    answers = await asyncio.gather(*(ask(node, "ECHO", str(number)) for number in range(100)))
    assert answers == [Replies(MICROS, [b"%d" % number]) for number in range(100)]


async def test_requests_of_one_turn_are_sent_together_behind_one_time(
    node: Dispatcher, redis: ScriptedRedis
) -> None:
    await asyncio.gather(*(ask(node, "ECHO", str(number)) for number in range(100)))
    assert redis.commands.count([b"TIME"]) == 2  # the first when the connection was opened
    assert redis.connections == 1


async def test_commands_sent_together_are_answered_together(node: Dispatcher) -> None:
    future = node.send(pack("ECHO", "a") + pack("ECHO", "b"), 2, timeout=2.0, guarded=False)
    assert (await future).replies == [b"a", b"b"]


async def test_an_error_reply_is_among_the_replies(node: Dispatcher, redis: ScriptedRedis) -> None:
    redis.respond = lambda command: _either(command, b"-ERR no\r\n")
    answer = await ask(node, "ECHO", "a")
    assert isinstance(answer.replies[0], ResponseError)
    assert redis.connections == 1


async def _either(command: Command, otherwise: bytes) -> bytes | None:
    return TIME if command == [b"TIME"] else otherwise


async def test_a_late_reply_is_dropped_and_the_next_caller_gets_its_own(
    node: Dispatcher, redis: ScriptedRedis
) -> None:
    gate = Gate(redis)
    late = ask(node, "ECHO", "late", timeout=0.01)
    assert await failure(late) is FailureKind.TIMEOUT
    following = ask(node, "ECHO", "next")
    gate.opened.set()
    assert (await following).replies == [b"next"]
    assert redis.connections == 1


@pytest.mark.redis_server
async def test_a_reply_that_arrived_while_the_process_was_busy_is_in_time(
    server: RedisServer, tasks: Tasks
) -> None:
    opener = Opener(parse_url(server.url), Tls(), Resolver())
    async with Dispatcher(
        "test", opener.open, tasks, on_change=lambda: None, on_failure=lambda _: None
    ) as node:
        future = ask(node, "ECHO", "a", timeout=0.05)
        await asyncio.sleep(0)  # it is sent
        time.sleep(0.1)  # noqa: ASYNC251 - the process is busy
        assert (await future).replies == [b"a"]


async def test_a_write_waits_longer_than_a_lookup_sent_with_it(
    node: Dispatcher, redis: ScriptedRedis
) -> None:
    gate = Gate(redis)
    lookup = ask(node, "ECHO", "lookup", timeout=0.01)
    write = ask(node, "ECHO", "write", timeout=2.0)
    assert await failure(lookup) is FailureKind.TIMEOUT
    gate.opened.set()
    assert (await write).replies == [b"write"]


async def test_a_cancelled_caller_does_not_affect_the_others(node: Dispatcher, redis: ScriptedRedis) -> None:
    gate = Gate(redis)
    futures = [ask(node, "ECHO", str(number)) for number in range(3)]
    waiting = [asyncio.ensure_future(_wait(future)) for future in futures]
    await until(lambda: len(redis.commands) > 1)
    waiting[1].cancel()
    gate.opened.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [results[0], results[2]] == [Replies(MICROS, [b"0"]), Replies(MICROS, [b"2"])]
    assert isinstance(results[1], asyncio.CancelledError)
    assert redis.connections == 1


async def _wait(future: asyncio.Future[Replies]) -> Replies:
    return await future


async def test_the_timeout_of_a_cancelled_request_is_not_a_failure(
    node: Dispatcher, redis: ScriptedRedis
) -> None:
    gate = Gate(redis)
    left = ask(node, "ECHO", "left", timeout=0.01, guarded=True)
    left.cancel()
    assert await failure(ask(node, "ECHO", "late", timeout=0.02)) is FailureKind.TIMEOUT
    gate.opened.set()
    assert (await ask(node, "ECHO", "next")).replies == [b"next"]


@pytest.mark.parametrize(
    ("says", "kind"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", FailureKind.PROTOCOL),
        (b"$5\r\nab", FailureKind.CONNECTION),
        (b"", FailureKind.CONNECTION),
        (b"-LOADING Redis is loading the dataset in memory\r\n", FailureKind.LOADING),
        (b"-NOAUTH Authentication required.\r\n", FailureKind.DENIED),
    ],
)
async def test_a_malformed_reply_fails_all_pending_requests_and_reconnects(
    node: Dispatcher, redis: ScriptedRedis, says: bytes, kind: FailureKind
) -> None:
    said = asyncio.Event()

    async def once(command: Command) -> bytes | None:
        if said.is_set():
            return await echo(command)
        if command == [b"TIME"]:
            return TIME
        said.set()
        redis.say(says)
        return None

    redis.respond = once
    waiting = [ask(node, "ECHO", str(number)) for number in range(3)]
    assert [await failure(future) for future in waiting] == [kind] * 3
    await until(lambda: node.up)
    assert (await ask(node, "ECHO", "next")).replies == [b"next"]
    assert redis.connections == 2


async def test_an_unexpected_reply_reconnects(node: Dispatcher, redis: ScriptedRedis) -> None:
    redis.say(TIME)
    await until(lambda: redis.connections == 2 and node.up)
    assert (await ask(node, "ECHO", "next")).replies == [b"next"]


@pytest.mark.parametrize("says", [b"-ERR unknown command\r\n", b"*1\r\n$1\r\n1\r\n", b"+OK\r\n"])
async def test_a_malformed_time_reconnects(node: Dispatcher, redis: ScriptedRedis, says: bytes) -> None:
    said = asyncio.Event()

    async def once(command: Command) -> bytes | None:
        if said.is_set() or command != [b"TIME"]:
            return await echo(command)
        said.set()
        return says

    redis.respond = once
    assert await failure(ask(node, "ECHO", "a")) in {FailureKind.PROTOCOL, FailureKind.RESPONSE}
    await until(lambda: redis.connections == 2 and node.up)


async def test_a_stalled_connection_is_replaced(
    node: Dispatcher, redis: ScriptedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STALL_SECONDS", 0.05)
    gate = Gate(redis)
    assert await failure(ask(node, "ECHO", "late", timeout=0.01)) is FailureKind.TIMEOUT
    other = ask(node, "ECHO", "behind it")
    assert await failure(other) is FailureKind.TIMEOUT
    gate.opened.set()
    await until(lambda: redis.connections == 2 and node.up)
    assert (await ask(node, "ECHO", "next")).replies == [b"next"]


async def test_a_late_reply_does_not_count_as_a_stall(
    node: Dispatcher, redis: ScriptedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STALL_SECONDS", 0.1)
    gate = Gate(redis)
    assert await failure(ask(node, "ECHO", "late", timeout=0.01)) is FailureKind.TIMEOUT
    gate.opened.set()
    await ask(node, "ECHO", "next")
    gate.opened.clear()
    # Its timeout is past the moment at which the late reply would have been given up.
    assert await failure(ask(node, "ECHO", "held", timeout=0.15)) is FailureKind.TIMEOUT
    gate.opened.set()
    assert redis.connections == 1


async def test_requests_behind_a_congested_write_time_out_with_it(
    node: Dispatcher, redis: ScriptedRedis
) -> None:
    Gate(redis)
    stuck = ask(node, "ECHO", "x" * 10_000_000, timeout=0.05)
    await until(lambda: len(redis.commands) > 1)
    behind = ask(node, "ECHO", "behind", timeout=0.05)
    assert await failure(behind) is FailureKind.TIMEOUT
    assert await failure(stuck) is FailureKind.TIMEOUT


async def test_too_many_pending_bytes_are_refused_at_once(
    node: Dispatcher, redis: ScriptedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_PENDING_BYTES", 3 * REQUEST_BYTES)
    gate = Gate(redis)
    waiting = [ask(node, "ECHO", str(number)) for number in range(3)]
    with pytest.raises(RedisFailed, match="overflow"):
        ask(node, "ECHO", "one too many")
    gate.opened.set()
    await asyncio.gather(*waiting)
    await ask(node, "ECHO", "next")


async def test_without_a_connection_requests_fail_at_once_until_it_is_back(
    node: Dispatcher, redis: ScriptedRedis, states: list[State]
) -> None:
    await redis.stop()
    await until(lambda: not node.up)
    with pytest.raises(RedisFailed, match="unavailable"):
        ask(node, "ECHO", "a")
    assert node.state is State.OPEN
    await until(lambda: states.count(State.OPEN) == 2)  # an attempt has failed
    await redis.start()
    assert await until(lambda: node.up) < 2
    assert (await ask(node, "ECHO", "a")).replies == [b"a"]


async def test_when_a_node_is_back_lookups_wait_until_other_gateways_have_replayed_writes(
    node: Dispatcher, redis: ScriptedRedis, states: list[State]
) -> None:
    await redis.stop()
    await until(lambda: states.count(State.OPEN) == 2)  # an attempt has failed
    await redis.start()
    await until(lambda: node.up)
    with pytest.raises(RedisFailed, match="unavailable"):
        ask(node, "ECHO", "a", guarded=True)
    assert node.reason == "missed writes are being replayed"
    assert await until(lambda: node.state is State.CLOSED) < 2
    assert (await ask(node, "ECHO", "a", guarded=True)).replies == [b"a"]
    assert (states[0], set(states[1:-1]), states[-1]) == (State.CLOSED, {State.OPEN}, State.CLOSED)


async def test_when_a_node_answers_after_a_long_silence_lookups_wait_too(
    node: Dispatcher, redis: ScriptedRedis
) -> None:
    gate = Gate(redis)
    await failure(ask(node, "ECHO", "a", timeout=0.01))
    await until(lambda: not node.up)
    gate.opened.set()
    await until(lambda: node.up)
    with pytest.raises(RedisFailed, match="unavailable"):
        ask(node, "ECHO", "a", guarded=True)


async def test_a_connection_that_is_lost_alone_costs_no_lookups(
    node: Dispatcher, redis: ScriptedRedis, states: list[State]
) -> None:
    await ask(node, "ECHO", "a")
    redis.cut()
    await until(lambda: redis.connections == 2 and node.up)
    assert (await ask(node, "ECHO", "b", guarded=True)).replies == [b"b"]
    assert states == [State.CLOSED, State.OPEN, State.CLOSED]


async def test_an_open_breaker_admits_one_probe_but_every_write(
    node: Dispatcher, redis: ScriptedRedis, states: list[State]
) -> None:
    gate = Gate(redis)
    slow = [ask(node, "ECHO", "a", timeout=0.01, guarded=True) for _ in range(10)]
    assert {await failure(future) for future in slow} == {FailureKind.TIMEOUT}
    assert node.state is State.OPEN
    with pytest.raises(RedisFailed, match="unavailable"):
        ask(node, "ECHO", "a", guarded=True)
    write = ask(node, "ECHO", "told all the same")
    gate.opened.set()
    assert (await write).replies == [b"told all the same"]
    assert (await probe(node)).replies == [b"probe"]
    assert states == [State.CLOSED, State.OPEN, State.HALF_OPEN, State.CLOSED]


async def test_a_probe_lost_with_its_connection_does_not_block_the_next(
    node: Dispatcher, redis: ScriptedRedis
) -> None:
    gate = Gate(redis)
    for future in [ask(node, "ECHO", "a", timeout=0.01, guarded=True) for _ in range(10)]:
        await failure(future)
    probing = asyncio.ensure_future(probe(node))
    await until(lambda: node.state is State.HALF_OPEN)
    node.reset(FailureKind.OWNER)
    with pytest.raises(RedisFailed, match="owner"):
        await probing
    gate.opened.set()
    await until(lambda: node.up)
    assert (await probe(node)).replies == [b"probe"]


async def probe(node: Dispatcher) -> Replies:
    """The replies to the first guarded request that the breaker admits."""
    admitted: list[asyncio.Future[Replies]] = []

    def try_again() -> bool:
        with contextlib.suppress(RedisFailed):
            admitted.append(ask(node, "ECHO", "probe", guarded=True))
        return bool(admitted)

    await until(try_again)
    return await admitted[0]


async def test_a_master_that_became_a_replica_is_reopened(node: Dispatcher, redis: ScriptedRedis) -> None:
    redis.respond = lambda command: _either(
        command, b"-READONLY You can't write against a read only replica.\r\n"
    )
    answer = await ask(node, "ECHO", "a")
    assert isinstance(answer.replies[0], ResponseError)
    await until(lambda: redis.connections == 2)


async def test_a_reset_without_a_connection_changes_nothing(node: Dispatcher, redis: ScriptedRedis) -> None:
    await redis.stop()
    await until(lambda: not node.up)
    node.reset(FailureKind.OWNER)
    assert not node.up


async def test_pending_requests_fail_when_the_gateway_closes(redis: ScriptedRedis, tasks: Tasks) -> None:
    opener = Opener(parse_url(f"redis://127.0.0.1:{redis.port}"), Tls(), Resolver())
    async with Dispatcher(
        "test", opener.open, tasks, on_change=lambda: None, on_failure=lambda _: None
    ) as node:
        Gate(redis)
        waiting = ask(node, "ECHO", "a")
    assert await failure(waiting) is FailureKind.UNAVAILABLE


def test_the_scripted_server_encodes_bulk_replies() -> None:
    assert bulk(b"ab") == b"$2\r\nab\r\n"
