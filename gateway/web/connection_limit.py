"""Bounds the open connections, so that file descriptors are left for probes, Redis and Apple."""

from typing import Final

from structlog.typing import FilteringBoundLogger

LOG_SECONDS: Final = 60.0


class ConnectionLimit:
    """Refuses connections beyond `most`, and logs refusals at most once a minute."""

    def __init__(self, most: int, log: FilteringBoundLogger) -> None:
        self._most = most
        self._log = log
        self._open: set[object] = set()
        """Connections that were admitted and not released."""
        self._refused = 0
        """Since the last line about it."""
        self._quiet_until = 0.0

    def admit(self, connection: object, now: float) -> bool:
        """Count `connection` as open unless `most` are; `now` is monotonic seconds."""
        if len(self._open) < self._most:
            self._open.add(connection)
            return True
        self._refused += 1
        if now >= self._quiet_until:
            self._log.warning(
                "connections_refused",
                refused=self._refused,
                limit=self._most,
                reason="callers have as many connections open as the limit on open files allows (10,000 at "
                "most): reuse connections, or raise that limit",
            )
            self._refused = 0
            self._quiet_until = now + LOG_SECONDS
        return False

    def release(self, connection: object) -> None:
        """Stop counting a connection that is lost; it may have been refused."""
        self._open.discard(connection)
