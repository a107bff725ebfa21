"""Whether a node refuses writes, although it answers. Pure: times are the event loop's seconds."""

import math

from gateway.cache.redis.errors import FailureKind

REOPEN_SECONDS = 1.0
"""Shortest interval between connections to a node that refuses writes: its address may lead to another server
by now."""
REPLAY_SECONDS = 1.0
"""Delay after the last refused write until lookups resume. Missed writes are replayed four times a second."""


class WriteRefusal:
    """Why a node refuses writes.

    A refused write was not published, and older ratings are still in Redis. Lookups resume after the refused
    writes are replayed.
    """

    def __init__(self) -> None:
        self.kind: FailureKind | None = None
        """None: it accepts them."""
        self._noted_at = -math.inf

    def note(self, kind: FailureKind | None, now: float) -> bool:
        """Note why a write was refused; None: one was accepted. Returns whether `kind` has changed."""
        if kind is not None:
            self._noted_at = now
        elif now < self._noted_at + REPLAY_SECONDS:
            return False
        changed = kind is not self.kind
        self.kind = kind
        return changed
