"""Pauses lookups at a node that answers but has missed writes. Pure: times are the event loop's seconds."""

import math

from gateway.cache.redis.errors import FailureKind

REOPEN_SECONDS = 1.0
"""Shortest interval between connections to a node that refuses writes: its address may lead to another server
by now."""
REPLAY_SECONDS = 1.0
"""Delay after the last refused write until lookups resume. Missed writes are replayed four times a second."""
RETURN_SECONDS = 1.5
"""Delay after the return of a node until lookups resume. Until then every gateway has connected again (its
slowest attempt and the longest wait before it) and has replayed the writes that the node missed."""
BLIP_SECONDS = 0.75
"""Another gateway waits longer than this for the replies of a silent node before it gives a write up.
Heartbeats are answered four times a second, so that a gateway knows how long a node was silent."""


class LookupPause:
    """Lookups are refused at a node that refuses writes, and at one that has just come back.

    Either way it missed writes, which were not published, and still has the ratings from before them, until
    the gateways that made the writes have replayed them.
    """

    def __init__(self) -> None:
        self.kind: FailureKind | None = None
        """Why lookups are refused. None: they are allowed. Unavailable: the node has just come back."""
        self._until = -math.inf
        self._opened_at = -math.inf
        self.alive_at = math.inf
        """When the latest request was sent that was answered."""

    @property
    def reason(self) -> str | None:
        """`kind`, for the log."""
        returned = self.kind is FailureKind.UNAVAILABLE
        return "missed writes are being replayed" if returned else self.kind

    def note(self, kind: FailureKind | None, now: float) -> bool:
        """Note why a write was refused; None: one was accepted. Returns whether `kind` has changed."""
        if kind is not None:
            self._until = max(self._until, now + REPLAY_SECONDS)
        elif now < self._until:
            return False
        changed = kind is not self.kind
        self.kind = kind
        return changed

    def opened(self, now: float, *, at_once: bool) -> bool:
        """There is a connection; `at_once`: no attempt failed before it. Returns whether the node was away.

        If a connection is lost alone, and opened again at once, the node has missed nothing. The first one of
        a gateway has nothing to wait for.
        """
        blip = at_once and now < self.alive_at + BLIP_SECONDS
        self._opened_at = self.alive_at = now
        if blip:
            return False
        self._until = now + RETURN_SECONDS
        self.kind = self.kind or FailureKind.UNAVAILABLE
        return True

    def is_due_to_reopen(self, now: float) -> bool:
        """Whether the connection to a node that refuses writes is old enough to be replaced."""
        return now >= self._opened_at + REOPEN_SECONDS
