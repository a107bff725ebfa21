"""The write rule, stated once and purely."""

from enum import Enum

from gateway.model import Resource


class Unwritten(Enum):
    """How a write ended that gave no value to keep."""

    UNCHANGED = "unchanged"
    """Apple refused it (4xx): what was rated before still is."""
    UNKNOWN = "unknown"
    """Nobody knows (timeout, 5xx): what was rated may have changed."""


UNCHANGED = Unwritten.UNCHANGED
UNKNOWN = Unwritten.UNKNOWN

Outcome = Resource | Unwritten
"""How a write ended: the rating as it now is (None: unrated), or no value."""
