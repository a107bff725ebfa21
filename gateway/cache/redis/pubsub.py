"""The subscription to other gateways' invalidations and announcements.

A subscription that is silent is replaced even if its connection is open: heartbeats must arrive on it.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from gateway.cache.announcement import OnAnnouncement, decode_announcement
from gateway.cache.invalidation import Message, OnInvalidation, Sequences, Throttled, decode_message
from gateway.cache.redis.commands import Commands
from gateway.cache.redis.connect import CONNECT_SECONDS
from gateway.cache.redis.connection import RedisConnection, pack
from gateway.cache.redis.dispatcher import BACKOFF_SECONDS
from gateway.cache.redis.errors import FailureKind, RedisFailed
from gateway.cache.redis.heartbeat import Heartbeat
from gateway.cache.redis.layout import Keys
from gateway.clock import MICROSECONDS, Clock
from gateway.model import Kind
from gateway.telemetry.metrics import Metrics

T = TypeVar("T")


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


class Subscriber:
    """Receives what other gateways publish, and this gateway's heartbeats, while `listen` runs."""

    def __init__(
        self,
        commands: Commands,
        heartbeat: Heartbeat,
        keys: Keys,
        *,
        gateway_id: str,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._commands = commands
        self._heartbeat = heartbeat
        self._keys = keys
        self._gateway_id = gateway_id
        self._clock = clock
        self._lag = metrics.invalidation_lag
        self._missed = metrics.invalidations_missed
        self._sequences = Sequences()
        self._on_invalidation: OnInvalidation | None = None
        self._on_announcement: OnAnnouncement | None = None
        self._subscription: Subscription | None = None
        self._successor: Subscription | None = None
        """Opened by `move`, and not taken by `listen` yet."""

    async def listen(self, on_invalidation: OnInvalidation, on_announcement: OnAnnouncement) -> None:
        """Subscribe, pass messages on, and subscribe again whenever that ends."""
        self._on_invalidation = on_invalidation
        self._on_announcement = on_announcement
        failures = 0
        while True:
            try:
                self._subscription = await self._next()
            except Exception:  # noqa: BLE001 - after any failure the next attempt may succeed
                failures += 1
            else:
                error = await self._subscription.wait_ended(self._heartbeat.silence_seconds)
                failures = 1 if self._subscription.established.is_set() else failures + 1
                if self._successor is None:
                    self._commands.count(self._cause_of(error))
            if self._successor is None:
                await asyncio.sleep(BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)])

    async def move(self, *, same_server: bool) -> None:
        """Subscribe through the new topology of `commands`.

        On the same server the new subscription is up before the old one ends, so that no invalidation is
        missed. On another server, entries from before are not trusted any more.
        """
        self._heartbeat.moved(same_server=same_server)
        successor = None
        if same_server:
            with contextlib.suppress(Exception):  # then `listen` subscribes again, and a gap counts as one
                async with asyncio.timeout(CONNECT_SECONDS):
                    successor = await self._subscribe(confirmed=True)
        self.close()
        self._successor = successor

    def _cause_of(self, error: Exception) -> Exception:
        """Why a subscription ended: one is silent because heartbeats are refused, if they are."""
        pauses = (node.pause.kind for node in self._commands.topology.everywhere())
        refused = next((kind for kind in pauses if kind is not None), None)
        return RedisFailed(refused) if refused and isinstance(error, TimeoutError) else error

    def close(self) -> None:
        """Close the subscription, and one from an earlier move that `listen` has not taken yet."""
        for subscription in (self._subscription, self._successor):
            if subscription is not None:
                subscription.close()
        self._successor = None

    async def _next(self) -> Subscription:
        """The subscription that `move` opened, or a new one."""
        while (successor := self._successor) is None:
            topology = self._commands.topology
            opened = await self._subscribe()
            if self._commands.topology is topology and self._successor is None:
                return opened
            opened.close()
        self._successor = None
        return successor

    async def _subscribe(self, *, confirmed: bool = False) -> Subscription:
        """Open a subscription; with `confirmed`, wait until Redis has confirmed it."""
        connection = await self._commands.topology.open_subscription()
        subscription = Subscription(connection)
        connection.attach(lambda message: self._receive(subscription, message))
        channels = self._keys.channel, self._keys.announcements, self._heartbeat.channel
        connection.write(pack("SUBSCRIBE", *channels))
        if confirmed:
            try:
                await subscription.established.wait()
            except BaseException:
                subscription.close()
                raise
        return subscription

    def _receive(self, subscription: Subscription, message: Any) -> None:
        if isinstance(message, Exception):
            raise message
        sort, channel, content = message
        now = self._clock.monotonic()
        subscription.postpone_silence(self._heartbeat.silence_seconds)
        if sort == b"subscribe":
            self._confirm(subscription, now)
        elif channel == self._heartbeat.channel.encode():
            self._heartbeat.returned(content, now)
            self._notice_gaps(now)
            self._heartbeat.check(now)
        elif channel == self._keys.announcements.encode():
            self._announce(content, now)
        else:
            self._pass_on(content, now)

    def _confirm(self, subscription: Subscription, now: float) -> None:
        """Note that `subscription` is up: without a gap only if another one has lasted until now."""
        if not subscription.established.is_set():
            others = (self._subscription, self._successor)
            seamless = any(other is not None and other.receives for other in others)
            if not seamless or not self._heartbeat.arrives(now):
                self._distrust(now)
                self._heartbeat.server_time.reset()
            subscription.established.set()
        self._heartbeat.hasten()

    def _pass_on(self, content: bytes, now: float) -> None:
        message = self._decoded(decode_message, content)
        if message is None:
            # From another release: an invalidation that this one cannot read counts as missed.
            self._distrust(now)
            return
        self._observe_lag(message, now)
        if message.origin == self._gateway_id or self._on_invalidation is None:
            return
        if message.sequence:
            self._sequences.received(message.origin, message.sequence, now)
            self._notice_gaps(now)
        for invalidation in message.invalidations:
            self._on_invalidation(invalidation)

    def _announce(self, content: bytes, now: float) -> None:
        announcement = self._decoded(decode_announcement, content)
        # Its own ones are known from the reply to the write: this subscription may miss them.
        if (
            announcement is not None
            and announcement.origin != self._gateway_id
            and self._on_announcement is not None
        ):
            age = self._age(announcement.published, announcement.user, now)
            self._on_announcement(announcement, age=age or 0.0, own=False)

    def _decoded(self, decode: Callable[[bytes], T], content: bytes) -> T | None:
        try:
            return decode(content)
        except msgspec.DecodeError:
            self._commands.count(RedisFailed(FailureKind.PROTOCOL))
            return None

    def _observe_lag(self, message: Message, now: float) -> None:
        first = message.invalidations[0] if message.invalidations else None
        if first is None or isinstance(first, Throttled):
            return
        age = self._age(message.published, first.user, now)
        if age is not None:
            self._lag.observe(age)

    def _age(self, published: int, user_key: bytes, now: float) -> float | None:
        """Return the seconds since `published`, by the clock of the node that holds the user's ratings."""
        try:
            node = self._commands.topology.route(self._keys.main(user_key, Kind.ALBUMS))
        except RedisFailed:  # a slot of a cluster without a node
            return None
        redis_now = self._heartbeat.server_time.at(node.name, now)
        return max(0.0, redis_now - published / MICROSECONDS) if published and redis_now else None

    def _notice_gaps(self, now: float) -> None:
        if missed := self._sequences.missed(now):
            self._missed.inc(missed)
            self._distrust(now)

    def _distrust(self, now: float) -> None:
        """Treat the subscription as new: invalidations from before may have been missed."""
        self._heartbeat.gap(now)
        self._sequences.reset()
