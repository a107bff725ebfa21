"""How each part is made from the settings; `app` puts them together."""

import math
import random
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gateway.apple.batch_splitter import BatchSplitter
from gateway.apple.caller import Caller
from gateway.apple.client import Apple
from gateway.apple.concurrency import ConcurrencyLimiter
from gateway.apple.developer_token import TokenSource
from gateway.apple.failing_ids import FailingIds
from gateway.apple.quarantine import Quarantine
from gateway.apple.reactions import Reactions
from gateway.apple.retry import RetryBudget, RetryPolicy
from gateway.apple.token_check import TokenCheck, TokenTest
from gateway.apple.transport import Transport, connect
from gateway.breaker import Breaker, State
from gateway.cache.cache import Cache
from gateway.cache.entry import Freshness
from gateway.cache.invalidation import Invalidation, OnInvalidation, Throttled
from gateway.cache.memory import MemoryCache
from gateway.clock import Clock
from gateway.credentials import redis_tls, signing_key
from gateway.ratings.write import write_seconds
from gateway.resolver import Resolver
from gateway.settings import Settings
from gateway.tasks import Tasks
from gateway.telemetry.logs import count_drops, logger
from gateway.telemetry.metrics import Metrics
from gateway.web.headers import MAX_TIMEOUT_MS

if TYPE_CHECKING:
    from gateway.cache.redis.link import Link


class Base(NamedTuple):
    """What every part is made with."""

    settings: Settings
    clock: Clock
    tasks: Tasks
    metrics: Metrics


class Guards(NamedTuple):
    """What decides whether Apple is called: readers consult it, calls change it, and operators see it."""

    tokens: TokenSource
    quarantine: Quarantine
    breaker: Breaker


def base_of(settings: Settings, clock: Clock) -> Base:
    """A registry of metrics, and tasks whose failures are logged."""
    log, metrics = logger(), Metrics()
    count_drops(metrics.log_lines_dropped.inc)
    tasks = Tasks(lambda name, error: log.error("bug", where=f"task {name}", exc_info=error))
    return Base(settings, clock, tasks, metrics)


def guards_of(settings: Settings, clock: Clock, metrics: Metrics) -> Guards:
    return Guards(
        token_source(settings, clock, metrics),
        Quarantine(seconds=settings.upstream.quarantine_seconds, metrics=metrics),
        apple_breaker(settings, metrics),
    )


def token_source(settings: Settings, clock: Clock, metrics: Metrics) -> TokenSource:
    """The developer token, whose changes are logged."""

    def changed(what: str, why: str) -> None:
        log = logger().warning if what == "refused" else logger().info
        log("developer_token", state=what, reason=why)

    return TokenSource(signing_key(settings, origin=settings.apple.origin), clock, metrics, changed)


def caller_tokens(settings: Settings) -> list[str]:
    return [token.get_secret_value() for token in settings.server.caller_tokens]


def memory_cache(settings: Settings, metrics: Metrics) -> MemoryCache:
    memory = MemoryCache(
        max_entries=settings.cache.local_max_entries,
        max_bytes=settings.cache.local_max_bytes,
        fresh_seconds=settings.cache.fresh_seconds,
        on_evict=metrics.local_cache_evictions.inc,
    )
    metrics.local_cache_entries.set_function(lambda: memory.entries)
    metrics.local_cache_bytes.set_function(lambda: memory.bytes)
    return memory


def freshness_of(settings: Settings) -> Freshness:
    return Freshness(
        fresh_seconds=settings.cache.fresh_seconds,
        stale_while_revalidate_seconds=settings.cache.stale_while_revalidate_seconds,
        stale_if_error_seconds=settings.cache.stale_if_error_seconds,
        jitter=settings.cache.jitter,
    )


@asynccontextmanager
async def redis_link(base: Base, freshness: Freshness) -> "AsyncIterator[Link | None]":
    settings, clock, tasks, metrics = base
    cache = settings.cache
    if cache.redis_url is None:
        yield None
        return
    # redis-py costs a fifth of the start, and a gateway without Redis needs none of it.
    from gateway.cache.redis.layout import Limits  # noqa: PLC0415
    from gateway.cache.redis.link import linked  # noqa: PLC0415

    async with linked(
        cache.redis_url.get_secret_value(),
        redis_tls(settings),
        Limits(
            freshness=freshness,
            hold_seconds=cache.write_hold_seconds,
            longest_write_seconds=_longest_write(settings),
            lookup_seconds=cache.redis_timeout_ms / 1000,
            trust_seconds=cache.local_trust_seconds,
            max_ratings_per_user=cache.max_ratings_per_user,
        ),
        namespace=cache.namespace,
        gateway_id=secrets.token_hex(8),
        resolver=Resolver(),
        clock=clock,
        tasks=tasks,
        metrics=metrics,
        on_state=state_reporter("redis", metrics),
        sampled=drawn(cache.visibility_fraction),
    ) as link:
        yield link


def drawn(fraction: float) -> Callable[[], bool]:
    """Return a function that draws a share of its calls by chance."""
    if fraction >= 1:
        return lambda: True  # called for each cache hit, of which all are logged by default
    chance = random.Random()  # noqa: S311 - not a secret
    return lambda: chance.random() < fraction


def _longest_write(settings: Settings) -> float:
    """Seconds that a write may take, with the longest wait that a caller may ask for."""
    longest_wait = max(MAX_TIMEOUT_MS / 1000, settings.server.request_timeout_seconds)
    return write_seconds(longest_wait, settings.upstream.call_timeout_seconds)


class ReportState(Protocol):
    """Reports the state of a breaker; `reason`: why it is open, if that is known."""

    def __call__(self, state: State, reason: str | None = None) -> None: ...


def state_reporter(target: str, metrics: Metrics) -> ReportState:
    """Return a function that sets a breaker's metric, and logs each change of its state.

    A reason that becomes known later is logged then, once.
    """
    gauge = metrics.breaker_state.labels(target)
    shown, explained = State.CLOSED, True

    def changed(state: State, reason: str | None = None) -> None:
        nonlocal shown, explained
        gauge.set(state)
        if state is not shown or (reason is not None and not explained):
            shown, explained = state, reason is not None
            known = {} if reason is None else {"reason": reason}
            logger().warning("breaker", target=target, state=state.label, **known)

    return changed


def invalidation_handler(cache: Cache, apple: Apple) -> OnInvalidation:
    """Pass each message of other gateways to the part that it concerns."""

    def handle(message: Invalidation) -> None:
        if isinstance(message, Throttled):
            apple.throttled_elsewhere()
        else:
            cache.on_invalidation(message)

    return handle


def always(_: float) -> float:
    """Trust every entry: without Redis there are no invalidations to miss."""
    return -math.inf


def apple_breaker(settings: Settings, metrics: Metrics) -> Breaker:
    upstream = settings.upstream
    return Breaker(
        error_rate=upstream.breaker_error_rate,
        window_seconds=upstream.breaker_window_seconds,
        min_calls=upstream.breaker_min_calls,
        open_seconds=upstream.breaker_open_seconds,
        on_change=state_reporter("apple", metrics),
    )


@asynccontextmanager
async def apple_client(base: Base, guards: Guards, link: "Link | None") -> AsyncIterator[Apple]:
    """Apple's API over connections of its own. 429s that lower the limit are published to other gateways."""
    settings, clock, tasks, metrics = base
    apple, upstream = settings.apple, settings.upstream

    def publish(seconds: float) -> None:
        if link is not None:
            tasks.spawn("publish throttled", link.store.publish(Throttled(seconds)))

    limiter = ConcurrencyLimiter(
        max_concurrency=upstream.max_concurrency, clock=clock, metrics=metrics, on_throttled=publish
    )
    async with connect(
        base_url=apple.base_url,
        origin=apple.origin,
        max_concurrency=upstream.max_concurrency,
        clock=clock,
        proxy_url=None if apple.proxy_url is None else apple.proxy_url.get_secret_value(),
    ) as transport:
        yield build_apple(
            transport,
            limiter=limiter,
            tokens=guards.tokens,
            breaker=guards.breaker,
            quarantine=guards.quarantine,
            max_ids_per_call=upstream.max_ids_per_call,
            call_timeout_seconds=upstream.call_timeout_seconds,
            attempts=upstream.attempts,
            clock=clock,
            metrics=metrics,
        )


def build_apple(
    transport: Transport,
    *,
    limiter: ConcurrencyLimiter,
    tokens: TokenSource,
    breaker: Breaker,
    quarantine: Quarantine,
    max_ids_per_call: int,
    call_timeout_seconds: float,
    attempts: int,
    clock: Clock,
    metrics: Metrics,
    chance: Callable[[], float] = random.random,
) -> Apple:
    """Apple's API over `transport`, behind everything that protects it."""
    failing = FailingIds()
    reactions = Reactions(
        tokens=tokens,
        token_check=TokenCheck(TokenTest(transport, call_timeout_seconds, clock.monotonic, metrics)),
        limiter=limiter,
        breaker=breaker,
        quarantine=quarantine,
        failing=failing,
        now=clock.monotonic,
        metrics=metrics,
    )
    caller = Caller(
        transport,
        tokens=tokens,
        limiter=limiter,
        breaker=breaker,
        quarantine=quarantine,
        reactions=reactions,
        policy=RetryPolicy(attempts),
        budget=RetryBudget(),
        call_timeout_seconds=call_timeout_seconds,
        clock=clock,
        metrics=metrics,
        chance=chance,
    )
    splitter = BatchSplitter(
        caller,
        max_ids_per_call=max_ids_per_call,
        failing=failing,
        now=clock.monotonic,
        chance=chance,
        metrics=metrics,
    )
    return Apple(caller, splitter, limiter, clock.monotonic)
