"""Who has a connection: the gateway's own reader, or aiohttp."""

from enum import Enum, auto


class ConnectionState(Enum):
    """Who has the connection."""

    IDLE = auto()
    """Neither: no complete request is waiting."""
    ANSWERING = auto()
    """We do: a request was taken, and is not answered yet."""
    HANDED_OVER = auto()
    """aiohttp does, until it has answered one request."""
    LEFT = auto()
    """aiohttp does, for good."""
