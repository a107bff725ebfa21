"""One subscribed connection: whether Redis has confirmed it, and how long it has been silent."""

import asyncio

from gateway.cache.redis.connection import RedisConnection


class Subscription:
    """One subscribed connection."""

    def __init__(self, connection: RedisConnection) -> None:
        self.connection = connection
        self.established = asyncio.Event()
        """Set when Redis has confirmed it."""
        self._silence: asyncio.Timeout | None = None

    @property
    def receives(self) -> bool:
        """Whether Redis has confirmed it, and the connection is open."""
        return self.established.is_set() and not self.connection.lost

    def postpone_silence(self, seconds: float) -> None:
        """Count the silence from now on, up to `seconds`: something has arrived."""
        if self._silence is not None and not self._silence.expired():
            self._silence.reschedule(asyncio.get_running_loop().time() + seconds)

    async def wait_ended(self, silence_seconds: float) -> Exception:
        """Wait until the connection is lost, or silent for too long, and close it; returns why it ended."""
        try:
            async with asyncio.timeout(silence_seconds) as self._silence:
                return await self.connection.wait_lost()
        except TimeoutError as error:
            return error
        finally:
            self._silence = None
            self.close()

    def close(self) -> None:
        """Close the connection; `wait_ended` returns."""
        self.connection.close(ConnectionError("the subscription has ended"))
