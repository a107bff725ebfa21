"""Who has a connection: the gateway's own reader, or aiohttp."""

from enum import Enum, auto


class ConnectionState(Enum):
    """Who has a connection.

    IDLE → ANSWERING → IDLE: the gateway answers a request itself.
    IDLE → ANSWERING → AIOHTTP_ONCE → IDLE: aiohttp answers a request whose end is known.
    IDLE, ANSWERING or AIOHTTP_ONCE → AIOHTTP: aiohttp keeps the connection, because it must be closed, or
    because the end of a request is unknown.
    """

    IDLE = auto()
    """Neither: no complete request is waiting."""
    ANSWERING = auto()
    """The gateway: a request was taken, and is not answered yet."""
    AIOHTTP_ONCE = auto()
    """aiohttp, until it has answered one request."""
    AIOHTTP = auto()
    """aiohttp, for good."""
