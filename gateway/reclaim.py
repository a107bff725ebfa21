"""Gives memory back to the system after hostile or bursty traffic.

Three things keep it: malformed requests leave cycles of exceptions, frames and up to half a megabyte of
input, while Python's collector counts objects, not bytes; glibc keeps freed blocks between live ones; and
yarl remembers the last 128 URLs, however long. docs/reliability.md has the measurement.
"""

import asyncio
import ctypes
import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from yarl import URL

STEP_SECONDS: Final = 1.0
SLACK_BYTES: Final = 4 * 1024 * 1024
"""Bytes of growth below which reclaiming is not worth a few milliseconds."""
FULL_SECONDS: Final = 5.0
"""At least between two collections of all generations, which visit the cache too."""
YOUNG: Final = 1
ALL: Final = 2
REMEMBERED_URLS: Final = 128
"""By each of yarl's caches."""

_STATM = Path("/proc/self/statm")


class Reclaimer:
    """Watches the process' memory, and reclaims what it can when that has grown.

    `resident` returns bytes, or None if the system does not report it; `collect` takes the oldest generation
    to collect; `trim` may take long, and is called in a thread.
    """

    def __init__(
        self,
        *,
        resident: Callable[[], int | None],
        collect: Callable[[int], None],
        trim: Callable[[], None],
        now: Callable[[], float],
    ) -> None:
        self._resident = resident
        self._collect = collect
        self._trim = trim
        self._now = now
        self._base = resident()
        self._full_at = now()

    async def run(self) -> None:
        """Watch until cancelled; returns at once if memory cannot be watched."""
        while self._base is not None:
            await asyncio.sleep(STEP_SECONDS)
            await self.step()

    async def step(self) -> None:
        """Reclaim young garbage after growth, and old garbage if that was not enough."""
        if self._grown():
            await self._reclaim(YOUNG)
            now = self._now()
            if self._grown() and now - self._full_at >= FULL_SECONDS:
                self._full_at = now
                await self._reclaim(ALL)
                self._base = self._resident()

    def _grown(self) -> bool:
        resident = self._resident()
        if resident is None or self._base is None:
            return False
        self._base = min(self._base, resident)
        return resident > self._base + SLACK_BYTES

    async def _reclaim(self, generation: int) -> None:
        self._collect(generation)
        await asyncio.to_thread(self._trim)


def process_reclaimer() -> Reclaimer:
    """For this process: on Linux, as far as its C library allows."""
    return Reclaimer(resident=resident_bytes, collect=collect, trim=_trimmer(), now=time.monotonic)


def resident_bytes() -> int | None:
    """Bytes of physical memory in use; None if the system does not report it."""
    try:
        return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def collect(generation: int) -> None:
    """Free garbage, and push long URLs out of yarl's caches, which cannot be cleared."""
    for number in range(REMEMBERED_URLS):
        URL(f"http://reclaim/{number}", encoded=True)
        URL(f"http://reclaim/{number}")
        URL.build(path=f"/{number}", encoded=True)
    gc.collect(generation)


def _trimmer() -> Callable[[], None]:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return (lambda: None) if trim is None else (lambda: trim(0))
