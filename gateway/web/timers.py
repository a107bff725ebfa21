"""Times connections out: unused ones, slow request heads, unread answers.

aiohttp has no timers that fit, because it sees only part of a connection's requests.
"""

import asyncio
from collections.abc import Callable
from typing import Final

KEEPALIVE_SECONDS: Final = 75.0
"""How long a connection may stay open without a request."""
HEAD_SECONDS: Final = 10.0
"""From the first byte of a request that comes in pieces to the end of its headers."""
UNREAD_SECONDS: Final = 60.0
"""How long a caller may read nothing while its answers fill the connection's buffer."""


class Timers:
    """Ends a connection by the callbacks it is given.

    It keeps them only in its timers: once these are stopped, it is in no reference cycle with the connection.
    """

    __slots__ = ("_head", "_loop", "_time", "_unread", "_unused", "_used_at")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._time = loop.time
        self._used_at = loop.time()
        self._unused: asyncio.TimerHandle | None = None
        self._head: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def close_if_unused(self, busy: Callable[[], bool], close: Callable[[], None]) -> None:
        """Call `close` when no request was answered for a while, unless one is in progress."""
        left = self._used_at + KEEPALIVE_SECONDS - self._time()
        if left <= 0 and not busy():
            close()
            return
        seconds = left if left > 0 else KEEPALIVE_SECONDS
        self._unused = self._loop.call_later(seconds, self.close_if_unused, busy, close)

    def used(self) -> None:
        """A request was answered."""
        self._used_at = self._time()

    def head_begins(self, close: Callable[[], None]) -> None:
        """Call `close` unless the head is complete in time; its first byte counts, if called again."""
        if self._head is None:
            self._head = self._loop.call_later(HEAD_SECONDS, close)

    def head_ends(self) -> None:
        """The head that began is complete."""
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def reading_stopped(self, abort: Callable[[], None]) -> None:
        """The caller does not read: call `abort` unless it goes on in time."""
        self._unread = self._loop.call_later(UNREAD_SECONDS, abort)

    def reading_resumed(self) -> None:
        """The caller reads again."""
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def stop(self) -> None:
        """The connection is lost."""
        for timer in (self._unused, self._head, self._unread):
            if timer is not None:
                timer.cancel()
