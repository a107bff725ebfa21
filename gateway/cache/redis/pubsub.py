"""The subscription to other gateways' news, and the beat that proves that it works.

A gateway publishes its beat on every way that news may take, which is by every node, and hears it on its
subscription: what is not acknowledged is thereby known to arrive. A subscription that fell silent, though its
connection stands, is closed and opened anew.
"""

import asyncio
import contextlib
import math
from typing import Any

import msgspec
from redis.asyncio.connection import AbstractConnection

from gateway.cache.invalidation import Continuity, OnInvalidation, decode_message
from gateway.cache.redis.closing import give_up
from gateway.cache.redis.commands import WRITE_SECONDS, Asker
from gateway.cache.redis.connection import BACKOFF_SECONDS, Dispatcher, pack
from gateway.cache.redis.errors import Failed, FailureKind
from gateway.cache.redis.keys import Keys
from gateway.cache.redis.topology import Topology
from gateway.clock import Clock
from gateway.telemetry.metrics import Metrics

MAX_BEAT_SECONDS = 0.25
MIN_BEAT_SECONDS = 0.01


class Listener:
    """Hears news for as long as its two tasks, `listen` and `beat`, run."""

    def __init__(
        self,
        topology: Topology,
        asker: Asker,
        keys: Keys,
        *,
        gateway_id: str,
        trust_seconds: float,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._topology = topology
        self._asker = asker
        self._gateway_id = gateway_id
        self._news_channel = keys.channel
        self._beat_channel = keys.beat(gateway_id)
        self._beat_seconds = max(MIN_BEAT_SECONDS, min(trust_seconds / 4, MAX_BEAT_SECONDS))
        self._silence_seconds = max(trust_seconds, 4 * self._beat_seconds)
        self._clock = clock
        self._up_shown = metrics.subscription_up
        self.up = False
        """Whether news was coming in when that was last looked at, which the beat does."""
        self.subscribed_since = clock.monotonic()
        """Since when it has been so (monotonic seconds)."""
        self._continuity = Continuity(trust_seconds)
        self._due = asyncio.Event()
        self._heard: dict[str, float] = {}
        """By node: when the latest beat was sent that came back by way of it."""

    def trusted_since(self, now: float) -> float:
        """See `Continuity`."""
        return self._continuity.trusted_since(now)

    async def beat(self) -> None:
        """Publish a beat again and again, and show whether it comes back."""
        while True:
            nodes = self._topology.everywhere()
            self._heard = {node.name: self._heard.get(node.name, -math.inf) for node in nodes}
            await asyncio.gather(*map(self._beat_by, nodes))
            self._show(self._clock.monotonic())
            self._due.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._beat_seconds):
                    await self._due.wait()

    def _show(self, now: float) -> None:
        up = self._continuity.up(now)
        self._up_shown.set(up)
        if up is not self.up:
            self.up, self.subscribed_since = up, now

    async def _beat_by(self, node: Dispatcher) -> None:
        beat = pack("PUBLISH", self._beat_channel, f"{self._clock.monotonic()!r} {node.name}")
        # Not counted: lookups and writes count how Redis is, and this asks four times a second.
        with contextlib.suppress(Exception):
            await node.ask(beat, 1, timeout=WRITE_SECONDS, guarded=False)

    async def listen(self, hears: OnInvalidation) -> None:
        """Subscribe, hear, and subscribe again whenever that breaks."""
        failures = 0
        while True:
            try:
                connection = await self._topology.open_subscription()
            except Exception:  # noqa: BLE001 - redis-py lets more than its own errors out
                failures = min(failures + 1, len(BACKOFF_SECONDS) - 1)
            else:
                failures = 1
                await self._hear(connection, hears)
            await asyncio.sleep(BACKOFF_SECONDS[failures])

    async def _hear(self, connection: AbstractConnection, hears: OnInvalidation) -> None:
        try:
            await connection.send_command("SUBSCRIBE", self._news_channel, self._beat_channel)
            while True:
                async with asyncio.timeout(self._silence_seconds):
                    message = await connection.read_response(timeout=math.inf, disconnect_on_error=False)
                self._take(message, hears)
        except Exception as error:  # noqa: BLE001 - as above
            self._asker.count(error)
        finally:
            await give_up(connection)

    def _take(self, message: Any, hears: OnInvalidation) -> None:
        sort, channel, content = message
        now = self._clock.monotonic()
        if sort == b"subscribe":
            self._continuity.subscribed(now)
            self._due.set()
        elif channel == self._beat_channel.encode():
            sent_at, _, node = content.decode().partition(" ")
            self._heard[node] = float(sent_at)
            self._continuity.beat_received(min(self._heard.values()), now)
            self._show(now)
        else:
            self._hear_news(content, now, hears)

    def _hear_news(self, content: bytes, now: float, hears: OnInvalidation) -> None:
        try:
            envelope = decode_message(content)
        except msgspec.DecodeError:
            # Another release's: what it says was missed, so nothing from before is believed.
            self._asker.count(Failed(FailureKind.PROTOCOL))
            self._continuity.subscribed(now)
            return
        if envelope.origin != self._gateway_id:
            for news in envelope.news:
                hears(news)
