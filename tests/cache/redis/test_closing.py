"""A connection that is given up is gone, though the other side takes nothing."""

import asyncio

from gateway.cache.redis.closing import give_up
from gateway.cache.redis.connect import Opener, Tls
from gateway.cache.redis.url import Address, parse_url

MORE_THAN_ANY_BUFFER = bytes(32 * 1024 * 1024)


async def test_what_is_unsent_keeps_no_socket_open() -> None:
    done = asyncio.Event()

    async def deaf(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    async with await asyncio.start_server(deaf, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        opener = Opener(parse_url(f"redis://127.0.0.1:{port}"), Tls())
        connection = opener._connection(Address("127.0.0.1", port))
        await connection.connect()
        assert connection._writer is not None
        socket = connection._writer.get_extra_info("socket")
        connection._writer.write(MORE_THAN_ANY_BUFFER)
        await give_up(connection)
        await asyncio.sleep(0)
        assert socket.fileno() == -1
        done.set()
