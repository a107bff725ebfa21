"""What a connection to Redis says next."""

import math
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from gateway.cache.redis.errors import Failed, FailureKind


async def next_reply(connection: AbstractConnection) -> Any:
    """The next reply, an error of Redis' too; raises where the connection fails. Waits without end."""
    try:
        return await connection.read_response(timeout=math.inf, disconnect_on_error=False)
    except ResponseError as error:
        return error


def micros(reply: Any) -> int:
    """Redis' time in microseconds, from the reply to TIME. Raises Failed where it is none."""
    match reply:
        case ResponseError():
            raise reply
        case [bytes() as seconds, bytes() as part]:
            return int(seconds) * 1_000_000 + int(part)
    raise Failed(FailureKind.PROTOCOL)
