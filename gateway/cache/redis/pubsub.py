"""The subscription to other gateways' invalidations, and the heartbeat that proves that it works.

A gateway publishes heartbeats through every node, just as invalidations, and receives them on its
subscription: while they come back, invalidations arrive too. A silent subscription is replaced even if its
connection is open. A node that refuses heartbeats refuses writes and invalidations too: lookups skip it. Each
heartbeat also probes a node whose breaker is not closed.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from gateway.breaker import State
from gateway.cache.announcement import OnAnnouncement, decode_announcement
from gateway.cache.invalidation import (
    Continuity,
    Message,
    OnInvalidation,
    Sequences,
    ServerTime,
    Throttled,
    decode_message,
)
from gateway.cache.redis import scripts
from gateway.cache.redis.commands import Commands
from gateway.cache.redis.connect import CONNECT_SECONDS
from gateway.cache.redis.connection import pack
from gateway.cache.redis.dispatcher import BACKOFF_SECONDS, Dispatcher
from gateway.cache.redis.errors import FailureKind, RedisFailed, kind_of
from gateway.cache.redis.layout import Keys
from gateway.cache.redis.subscription import Subscription
from gateway.cache.redis.topology import Topology
from gateway.clock import MICROSECONDS, Clock
from gateway.model import Kind
from gateway.telemetry.metrics import Metrics

T = TypeVar("T")

MAX_BEAT_SECONDS = 0.25
MIN_BEAT_SECONDS = 0.01


class Subscriber:
    """Receives invalidations while its two tasks, `listen` and `beat`, run."""

    def __init__(
        self,
        commands: Commands,
        keys: Keys,
        *,
        gateway_id: str,
        trust_seconds: float,
        lookup_seconds: float,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._topology = commands.topology
        self._commands = commands
        self._gateway_id = gateway_id
        self._keys = keys
        self._channel = keys.channel
        self._beat_channel = keys.beat(gateway_id)
        self._beat_seconds = max(MIN_BEAT_SECONDS, min(trust_seconds / 4, MAX_BEAT_SECONDS))
        self._silence_seconds = max(trust_seconds, 4 * self._beat_seconds)
        self._lookup_seconds = lookup_seconds
        self._clock = clock
        self._up_gauge = metrics.subscription_up
        self._lag = metrics.invalidation_lag
        self._missed = metrics.invalidations_missed
        self.up = False
        """Whether invalidations arrived at the last check, which each heartbeat makes."""
        self.subscribed_since = clock.monotonic()
        """Since when `up` has had its value (monotonic seconds)."""
        self._continuity = Continuity(trust_seconds)
        self._sequences = Sequences()
        self._server_time = ServerTime()
        self._due = asyncio.Event()
        self._received: dict[str, float] = {}
        """By node: when the latest heartbeat was sent that came back through it."""
        self._on_invalidation: OnInvalidation | None = None
        self._on_announcement: OnAnnouncement | None = None
        self._subscription: Subscription | None = None
        self._successor: Subscription | None = None
        """Opened by `move`, and not taken by `listen` yet."""

    def trusted_since(self, now: float) -> float:
        """See `Continuity`."""
        return self._continuity.trusted_since(now)

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
                error = await self._subscription.wait_ended(self._silence_seconds)
                failures = 1 if self._subscription.established.is_set() else failures + 1
                if self._successor is None:
                    self._commands.count(self._cause_of(error))
            if self._successor is None:
                await asyncio.sleep(BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)])

    async def beat(self) -> None:
        """Publish heartbeats, and show whether they come back."""
        while True:
            nodes = self._topology.everywhere()
            self._received = {node.name: self._received.get(node.name, -math.inf) for node in nodes}
            await asyncio.gather(*map(self._beat_through, nodes))
            self._show(self._now())
            self._due.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._beat_seconds):
                    await self._due.wait()

    async def move(self, topology: Topology, *, same_server: bool) -> None:
        """Subscribe through `topology` from now on.

        On the same server the new subscription is up before the old one ends, so that no invalidation is
        missed. On another server, entries from before are not trusted any more.
        """
        self._topology = topology
        self._server_time.reset()
        successor = None
        if same_server:
            with contextlib.suppress(Exception):  # then `listen` subscribes again, and a gap counts as one
                async with asyncio.timeout(CONNECT_SECONDS):
                    successor = await self._subscribe(topology, confirmed=True)
        else:
            now = self._now()
            self._continuity.distrust_before(now)
            self._show(now)
        self.close()
        self._successor = successor

    def _cause_of(self, error: Exception) -> Exception:
        """Why a subscription ended: one is silent because heartbeats are refused, if they are."""
        refusals = (node.refusal.kind for node in self._topology.everywhere())
        refused = next((kind for kind in refusals if kind is not None), None)
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
            topology = self._topology
            opened = await self._subscribe(topology)
            if self._topology is topology and self._successor is None:
                return opened
            opened.close()
        self._successor = None
        return successor

    async def _subscribe(self, topology: Topology, *, confirmed: bool = False) -> Subscription:
        """Open a subscription; with `confirmed`, wait until Redis has confirmed it."""
        connection = await topology.open_subscription()
        subscription = Subscription(connection)
        connection.attach(lambda message: self._receive(subscription, message))
        connection.write(pack("SUBSCRIBE", self._channel, self._keys.announcements, self._beat_channel))
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
        now = self._now()
        subscription.postpone_silence(self._silence_seconds)
        if sort == b"subscribe":
            self._confirm(subscription, now)
        elif channel == self._beat_channel.encode():
            sent_at, _, node = content.decode().partition(" ")
            self._received[node] = float(sent_at)
            self._continuity.beat_received(min(self._received.values()), now)
            self._notice_gaps(now)
            self._show(now)
        elif channel == self._keys.announcements.encode():
            self._announce(content, now)
        else:
            self._pass_on(content, now)

    def _confirm(self, subscription: Subscription, now: float) -> None:
        """Note that `subscription` is up: without a gap only if another one has lasted until now."""
        if not subscription.established.is_set():
            others = (self._subscription, self._successor)
            seamless = any(other is not None and other.receives for other in others)
            if not seamless or not self._continuity.up(now):
                self._distrust(now)
                self._server_time.reset()
            subscription.established.set()
        self._due.set()

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
            node = self._topology.route(self._keys.main(user_key, Kind.ALBUMS))
        except RedisFailed:  # a slot of a cluster without a node
            return None
        redis_now = self._server_time.at(node.name, now)
        return max(0.0, redis_now - published / MICROSECONDS) if published and redis_now else None

    def _notice_gaps(self, now: float) -> None:
        if missed := self._sequences.missed(now):
            self._missed.inc(missed)
            self._distrust(now)

    def _distrust(self, now: float) -> None:
        """Treat the subscription as new: invalidations from before may have been missed."""
        self._continuity.subscribed(now)
        self._sequences.reset()
        self._due.set()

    def _show(self, now: float) -> None:
        up = self._continuity.up(now)
        self._up_gauge.set(up)
        if up is not self.up:
            self.up, self.subscribed_since = up, now

    def _probe(self, node: Dispatcher) -> None:
        """Probe a node whose breaker is not closed, within the time of a lookup: there may be none."""
        if node.state is not State.CLOSED:
            with contextlib.suppress(RedisFailed):
                node.send(pack("TIME"), 1, timeout=self._lookup_seconds, guarded=True)

    async def _beat_through(self, node: Dispatcher) -> None:
        self._probe(node)
        # Failures are not counted, but for the first refusal: four a second would drown those of lookups.
        with contextlib.suppress(Exception):
            sent_at = self._now()
            beat = [self._beat_channel, f"{sent_at!r} {node.name}"]
            answer = await self._commands.run_at(node, scripts.BEAT, beat)
            self._server_time.observe(node.name, sent_at, self._now(), answer.micros / MICROSECONDS)
            error = answer.error
            if node.note_refusal(None if error is None else kind_of(error)) and error is not None:
                self._commands.count(error)

    def _now(self) -> float:
        return self._clock.monotonic()
