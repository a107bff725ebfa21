"""How long ratings are kept in Redis, how long the gateway waits for it, and how much it stores there."""

import msgspec

from gateway.cache.entry import Freshness


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds."""

    freshness: Freshness
    hold_seconds: float
    """How long a written rating outranks what Apple reports."""
    write_seconds: float
    """A write that has not ended by then counts for nothing."""
    lookup_seconds: float
    """A lookup past it, counted from when its bytes are sent, is a miss."""
    max_ratings_per_user: int
    """Of one type; beyond it the oldest go."""

    @property
    def key_milliseconds(self) -> int:
        """How long a hash outlives its last change: longer than anything in it, and than any fetch."""
        longest = max(self.freshness.lifetime_seconds, self.write_seconds + self.hold_seconds)
        return round(1000 * (60 + longest))
