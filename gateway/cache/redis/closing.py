"""Giving a connection to Redis up at once, whatever the other side does."""

import contextlib

from redis.asyncio.connection import AbstractConnection


async def give_up(connection: AbstractConnection) -> None:
    """Close, and wait for nobody: neither for what is unsent to be taken, nor for the end of TLS.

    Else the socket of a Redis that hears nothing stays open for as long as the kernel, or TLS, has patience.
    """
    # redis-py closes in good order only. A connection that was never made, or to a fake, has no transport.
    transport = getattr(connection._writer, "transport", None)  # noqa: SLF001
    with contextlib.suppress(Exception):
        await connection.disconnect(nowait=True)
    if transport is not None:
        transport.abort()
