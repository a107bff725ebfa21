"""Writes log lines to stdout from a thread, so that a blocked pipe blocks nothing else.

The file stays in blocking mode: O_NONBLOCK belongs to the open file, which other processes may share.
"""

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

MAX_BYTES: Final = 2 * 1024 * 1024
"""Of lines that wait to be written; seconds of traffic at several thousand requests a second."""
RESERVE_BYTES: Final = 256 * 1024
"""On top of that, for warnings and errors only."""
CHUNK_BYTES: Final = 64 * 1024
"""Of one system call; a pipe holds that much."""
CLOSE_SECONDS: Final = 1.0


class Outlet(Protocol):
    """Where log lines go. Neither method blocks for long, and neither raises."""

    def write(self, line: bytes, *, urgent: bool = False) -> None:
        """Write one line, ended by a line feed. `urgent` lines (warnings, errors) are dropped last."""
        ...

    def offer(self, lines: bytes) -> bool:
        """Write several lines, or none: False if there is no room for all of them."""
        ...


class DirectOutlet:
    """Writes to the current stdout at once: for tests, and for programs that embed the gateway."""

    def __init__(self) -> None:
        self._stream = sys.stdout.buffer

    def write(self, line: bytes, *, urgent: bool = False) -> None:
        del urgent
        self.offer(line)

    def offer(self, lines: bytes) -> bool:
        with suppress(OSError):
            self._stream.write(lines)
            self._stream.flush()
        return True


class LogWriter:
    """Buffers lines, which a daemon thread writes. Counts lines that do not fit or cannot be written.

    `write` is `os.write` bound to a file: it may block, and may take fewer bytes than it was given.
    """

    def __init__(self, write: Callable[[bytes], int]) -> None:
        self._write = write
        self._waiting: deque[bytes] = deque()
        self._size = 0
        """Bytes that wait, including those that are being written."""
        self._changed = threading.Condition()
        self._closed = False
        self._dropped = 0
        self._on_drop: Callable[[int], None] | None = None
        self._thread = threading.Thread(target=self._run, name="log writer", daemon=True)
        self._thread.start()

    def write(self, line: bytes, *, urgent: bool = False) -> None:
        """Queue one line; drop it if the buffer is full."""
        if not self._add(line, MAX_BYTES + RESERVE_BYTES if urgent else MAX_BYTES):
            self._drop(1)

    def offer(self, lines: bytes) -> bool:
        """Queue several lines if the buffer has room for all of them."""
        return self._add(lines, MAX_BYTES)

    def count_drops(self, count: Callable[[int], None]) -> None:
        """Report how many lines were dropped to `count`, those until now included.

        The thread calls it too, never at the same time as another call.
        """
        with self._changed:
            self._on_drop = count
            dropped, self._dropped = self._dropped, 0
            if dropped:
                count(dropped)

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Write the queued lines for at most `seconds`; the rest is lost."""
        until = time.monotonic() + seconds
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            while self._size and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)

    def _add(self, lines: bytes, bound: int) -> bool:
        with self._changed:
            if self._size + len(lines) > bound:
                return False
            self._waiting.append(lines)
            self._size += len(lines)
            self._changed.notify_all()
        return True

    def _drop(self, lines: int) -> None:
        with self._changed:
            if self._on_drop is None:
                self._dropped += lines
            else:
                self._on_drop(lines)

    def _run(self) -> None:
        while (chunk := self._next()) is not None:
            written = 0
            try:
                while written < len(chunk):
                    written += self._write(chunk[written : written + CHUNK_BYTES])
            except OSError:
                # A reader that has gone, or a full disk, loses lines but stops nothing.
                self._drop(chunk.count(b"\n", written))
            with self._changed:
                self._size -= len(chunk)
                self._changed.notify_all()

    def _next(self) -> bytes | None:
        with self._changed:
            while not self._waiting:
                if self._closed:
                    return None
                self._changed.wait()
            chunk = bytearray()
            while self._waiting and (not chunk or len(chunk) + len(self._waiting[0]) <= CHUNK_BYTES):
                chunk += self._waiting.popleft()
            return bytes(chunk)


def stdout_writer() -> LogWriter:
    """A writer on this process' stdout."""
    file = sys.stdout.fileno()
    return LogWriter(lambda data: os.write(file, data))
