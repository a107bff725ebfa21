"""Waiting for conditions that no event reports."""

import asyncio
import time
from collections.abc import Callable
from typing import Any


def other_tasks() -> set[asyncio.Task[Any]]:
    """Tasks that have not ended, besides the one that asks."""
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


async def until(condition: Callable[[], Any], seconds: float = 15.0) -> float:
    """Wait until `condition()`, which another process may bring about; return the seconds it took."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"not within {seconds} s")
        await asyncio.sleep(0.005)
    return time.monotonic() - began
