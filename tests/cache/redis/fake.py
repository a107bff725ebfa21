"""fakeredis behind a real socket, so that the gateway's own connection talks to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fakeredis import FakeServer
from fakeredis.aioredis import FakeAsyncRedisConnection
from redis.exceptions import RedisError

from tests.cache.redis.scripted import Command, ScriptedRedis, bulk


@asynccontextmanager
async def fake_redis() -> AsyncIterator[str]:
    """The URL of an empty fake Redis 7.0."""
    connection = FakeAsyncRedisConnection(
        server=FakeServer(version=(7, 0)), protocol=2, driver_info=None, socket_timeout=None
    )

    async def respond(command: Command) -> bytes:
        await connection.send_command(*command)
        try:
            return encoded(await connection.read_response())
        except RedisError as error:
            return encoded(error)

    async with ScriptedRedis() as server:
        server.respond = respond
        yield f"redis://127.0.0.1:{server.port}"
    await connection.disconnect()


def encoded(reply: Any) -> bytes:
    """A reply on the wire (RESP2)."""
    match reply:
        case RedisError():
            return f"-{reply.status_code or 'ERR'} {reply}\r\n".encode()
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % reply
        case list():
            return b"*%d\r\n%b" % (len(reply), b"".join(map(encoded, reply)))
        case str():
            return bulk(reply.encode())
    return bulk(bytes(reply))
