"""The connection on the wire, on both event loops: replies in order, and an immediate end."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop
from redis.exceptions import AuthenticationError, BusyLoadingError, InvalidResponse, ResponseError

from gateway.cache.redis.connection import RedisConnection, pack
from tests.cache.redis.scripted import Command, ScriptedRedis, bulk

Run = Callable[[Coroutine[Any, Any, None]], None]
MORE_THAN_ANY_BUFFER = bytes(32 * 1024 * 1024)


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    chosen: Run = request.param
    return chosen


async def connected(port: int) -> RedisConnection:
    _, connection = await asyncio.get_running_loop().create_connection(RedisConnection, "127.0.0.1", port)
    return connection


def saying(answer: bytes) -> Callable[[Command], Coroutine[Any, Any, bytes]]:
    async def respond(_: Command) -> bytes:
        return answer

    return respond


def test_commands_are_answered_in_order(run: Run) -> None:
    async def scenario() -> None:
        async with ScriptedRedis() as redis:
            connection = await connected(redis.port)
            replies = await asyncio.gather(*(connection.execute("ECHO", number) for number in range(3)))
            assert replies == [b"0", b"1", b"2"]
            connection.close(ConnectionError())

    run(scenario())


def test_the_reply_to_a_cancelled_command_is_dropped(run: Run) -> None:
    async def scenario() -> None:
        async with ScriptedRedis() as redis:
            connection = await connected(redis.port)
            first = asyncio.ensure_future(connection.execute("ECHO", "first"))
            await asyncio.sleep(0)
            first.cancel()
            assert await connection.execute("ECHO", "second") == b"second"
            connection.close(ConnectionError())

    run(scenario())


def test_an_attached_receiver_gets_every_reply(run: Run) -> None:
    async def scenario() -> None:
        async with ScriptedRedis() as redis:
            connection = await connected(redis.port)
            received: asyncio.Queue[bytes] = asyncio.Queue()
            connection.attach(received.put_nowait)
            connection.write(pack("ECHO", "a") + pack("ECHO", "b"))
            assert [await received.get(), await received.get()] == [b"a", b"b"]
            connection.close(ConnectionError())

    run(scenario())


def test_an_error_reply_to_a_command_keeps_the_connection(run: Run) -> None:
    async def scenario() -> None:
        async with ScriptedRedis() as redis:
            redis.respond = saying(b"-ERR no\r\n")
            connection = await connected(redis.port)
            with pytest.raises(ResponseError, match="ERR no"):
                await connection.execute("ECHO", "a")
            redis.respond = saying(b"+a\r\n")
            assert await connection.execute("ECHO", "a") == b"a"
            connection.close(ConnectionError())

    run(scenario())


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", InvalidResponse),
        (b"-LOADING Redis is loading the dataset in memory\r\n", BusyLoadingError),
        (b"-NOAUTH Authentication required.\r\n", AuthenticationError),
        (b"-MOVED nonsense\r\n", InvalidResponse),
    ],
)
def test_a_reply_that_concerns_the_connection_closes_it(
    run: Run, answer: bytes, error: type[Exception]
) -> None:
    async def scenario() -> None:
        async with ScriptedRedis() as redis:
            redis.respond = saying(answer)
            connection = await connected(redis.port)
            with pytest.raises(error):
                await connection.execute("ECHO", "a")
            assert isinstance(await connection.wait_lost(), error)

    run(scenario())


def test_an_unexpected_reply_closes_the_connection(run: Run) -> None:
    async def scenario() -> None:
        async with ScriptedRedis() as redis:
            connection = await connected(redis.port)
            await connection.execute("ECHO", "a")
            redis.say(bulk(b"unasked"))
            assert isinstance(await connection.wait_lost(), InvalidResponse)
            with pytest.raises(InvalidResponse):
                await connection.execute("ECHO", "b")

    run(scenario())


def test_a_server_that_closes_fails_pending_commands(run: Run) -> None:
    async def scenario() -> None:
        async with ScriptedRedis() as redis:

            async def cut(_: Command) -> None:
                return None

            redis.respond = cut
            connection = await connected(redis.port)
            with pytest.raises(ConnectionError, match="closed"):
                await connection.execute("ECHO", "a")

    run(scenario())


def test_a_congested_connection_reports_when_it_is_writable_again(run: Run) -> None:
    async def scenario() -> None:
        async with ScriptedRedis() as redis:
            connection = await connected(redis.port)
            writable = asyncio.Event()
            connection.attach(lambda _: None, writable.set)
            connection.write(pack("ECHO", MORE_THAN_ANY_BUFFER))
            assert not connection.writable
            await writable.wait()
            assert connection.writable
            connection.close(ConnectionError())

    run(scenario())


def test_closing_drops_what_is_unsent(run: Run) -> None:
    """A Redis that reads nothing would otherwise keep the socket open."""

    async def scenario() -> None:
        read: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        closed = asyncio.Event()

        async def read_after_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await closed.wait()
            count = 0
            try:
                while data := await reader.read(1 << 20):
                    count += len(data)
            except ConnectionError:
                pass
            writer.close()
            read.set_result(count)

        async with await asyncio.start_server(read_after_close, "127.0.0.1", 0) as server:
            connection = await connected(server.sockets[0].getsockname()[1])
            connection.write(MORE_THAN_ANY_BUFFER)
            connection.close(ConnectionError())
            closed.set()
            assert await read < len(MORE_THAN_ANY_BUFFER)

    run(scenario())
