"""File descriptors: the process' limit, and how many connections callers may have open."""

import resource
import sys
from contextlib import suppress
from typing import Final

MAX_CONNECTIONS: Final = 10_000
"""However high the limit is: an idle connection takes 7 KB of memory."""
RESERVE: Final = 128
"""For the ops listener, Redis, files and libraries; calls to Apple come on top."""


def raise_limit() -> None:
    """Raise the limit to the highest that is allowed: many systems start processes with 1,024."""
    _, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS reports no highest, and refuses it.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, highest))


def limit() -> int:
    """How many descriptors this process may have open."""
    current, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if current == resource.RLIM_INFINITY else current


def connections(limit: int, upstream_calls: int) -> int:
    """How many connections of callers leave enough of `limit` for that many calls to Apple, and the rest.

    At least half of the limit.
    """
    return min(max(limit - RESERVE - upstream_calls, limit // 2), MAX_CONNECTIONS)
