"""Redis' time, estimated from replies that carry it. Clocks of two hosts are never compared otherwise."""

from collections import deque
from typing import Final

OBSERVATIONS: Final = 16
"""Kept by node: those of about 4 seconds of heartbeats, so that drift and steps of a clock are followed."""
MICROSECONDS: Final = 1_000_000


class ServerTime:
    """What Redis' clock shows, by node. Pure: times are seconds, monotonic or of Redis' clock.

    Of the kept round trips the shortest counts: the estimate errs by half of its duration at most.
    """

    def __init__(self) -> None:
        self._observed: dict[str, deque[tuple[float, float]]] = {}

    def observe(self, node: str, sent_at: float, received_at: float, redis_time: float) -> None:
        """`node` answered at `redis_time` a request that took from `sent_at` to `received_at`."""
        offset = redis_time - (sent_at + received_at) / 2
        observed = self._observed.setdefault(node, deque(maxlen=OBSERVATIONS))
        observed.append((received_at - sent_at, offset))

    def reset(self) -> None:
        """Start over: another server may answer by the same name."""
        self._observed.clear()

    def at(self, node: str, moment: float) -> float | None:
        """Return what the clock of `node` shows at `moment` (monotonic); None if it did not answer yet."""
        observed = self._observed.get(node)
        return moment + min(observed)[1] if observed else None
