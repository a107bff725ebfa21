"""The composition root: settings in, a wired gateway out, in the order in which a request meets its parts."""

import math
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gateway.breaker import Breaker, State
from gateway.cache.entries import Freshness
from gateway.cache.ledger import Ledger
from gateway.cache.local import LocalTier
from gateway.cache.news import Hears, News, Throttled
from gateway.cache.shared.values import Limits
from gateway.cache.tiers import Cache
from gateway.clock import Clock, SystemClock
from gateway.loading.flights import Flights
from gateway.ops.access import OpsAccess
from gateway.ops.health import Check
from gateway.ops.server import Ops
from gateway.ratings.explaining import Explainer
from gateway.ratings.reading import Reader
from gateway.ratings.refreshing import Refresher
from gateway.ratings.shelf_read import Sources
from gateway.ratings.writing import Writer
from gateway.settings import Settings
from gateway.tasks import Tasks
from gateway.telemetry.logs import logger, request_log
from gateway.telemetry.metrics import Metrics
from gateway.upstream.client import Apple, open_apple
from gateway.upstream.developer_token import SigningKey, TokenSource
from gateway.upstream.quarantine import Quarantine
from gateway.web.api import Api, Observe
from gateway.web.headers import CallerCheck

if TYPE_CHECKING:
    from gateway.cache.shared.connecting import Link


class Gateway(msgspec.Struct, frozen=True):
    """A wired gateway without its listeners."""

    api: Api
    ops: Ops
    tasks: Tasks
    tokens: TokenSource
    metrics: Metrics


def signing_key(settings: Settings) -> SigningKey:
    """The credential that the settings name. Raises `ValueError`, without any of the key in it."""
    apple = settings.apple
    return SigningKey.parse(
        team_id=apple.team_id,
        key_id=apple.key_id,
        private_key=apple.private_key.get_secret_value(),
        lifetime_seconds=apple.token_lifetime_seconds,
        origin=apple.origin,
    )


@asynccontextmanager
async def wired(
    settings: Settings, *, clock: Clock | None = None, observe: Observe | None = None
) -> AsyncIterator[Gateway]:
    """Build a gateway; what it opened is closed in reverse at the end."""
    clock = clock or SystemClock()
    log = logger()
    metrics = Metrics()
    tasks = Tasks(lambda name, error: log.error("bug", task=name, error=repr(error)))
    lines = request_log(level=settings.log.level, format_=settings.log.format)
    tokens = TokenSource(signing_key(settings), clock, metrics)
    quarantine = Quarantine(seconds=settings.upstream.quarantine_seconds, metrics=metrics)
    freshness = _freshness(settings)
    async with (
        _redis(settings, freshness, clock, tasks, metrics) as link,
        _apple(settings, tokens, quarantine, link, clock, tasks, metrics) as apple,
    ):
        cache = Cache(
            local=_local_tier(settings, metrics),
            ledger=Ledger(hold_seconds=settings.cache.write_hold_seconds),
            shared=None if link is None else link.tier,
            freshness=freshness,
            believed_since=_always if link is None else link.believed_since,
            on_forget=lambda *forgotten: flights.detach(*forgotten),  # noqa: PLW0108 - the flights are made below
            clock=clock,
            tasks=tasks,
            metrics=metrics,
        )
        flights = Flights(
            apple.fetch,
            cache.store,
            size=apple.batch_size,
            window_seconds=settings.upstream.batch_window_ms / 1000,
            fetch_seconds=settings.server.request_timeout_seconds,
            tasks=tasks,
            clock=clock,
            metrics=metrics,
        )
        if link is not None:
            link.listen(_hears(cache, apple))
        sources = Sources(cache, flights, quarantine, Refresher(flights, tasks, metrics))
        api = Api(
            reader=Reader(sources, clock, metrics),
            writer=Writer(cache=cache, apple=apple, tasks=tasks),
            max_ids=settings.server.max_ids,
            check_caller=CallerCheck([token.get_secret_value() for token in settings.server.caller_tokens]),
            request_timeout_seconds=settings.server.request_timeout_seconds,
            sample_hits=settings.log.sample_hits,
            clock=clock,
            metrics=metrics,
            log=log,
            request_log=lines,
            observe=observe,
        )
        ops = _ops(settings, api, cache, Explainer(sources, clock), tokens, metrics)
        yield Gateway(api, ops, tasks, tokens, metrics)
        flights.close()
        await tasks.cancel()
        if lines is not None:
            lines.flush()


def _local_tier(settings: Settings, metrics: Metrics) -> LocalTier:
    local = LocalTier(
        max_entries=settings.cache.local_max_entries,
        max_bytes=settings.cache.local_max_bytes,
        on_evict=metrics.local_cache_evictions.inc,
    )
    metrics.local_cache_entries.set_function(lambda: local.entries)
    metrics.local_cache_bytes.set_function(lambda: local.bytes)
    return local


def _freshness(settings: Settings) -> Freshness:
    return Freshness(
        fresh_seconds=settings.cache.fresh_seconds,
        stale_while_revalidate_seconds=settings.cache.stale_while_revalidate_seconds,
        stale_if_error_seconds=settings.cache.stale_if_error_seconds,
        jitter=settings.cache.jitter,
    )


@asynccontextmanager
async def _redis(
    settings: Settings, freshness: Freshness, clock: Clock, tasks: Tasks, metrics: Metrics
) -> "AsyncIterator[Link | None]":
    cache = settings.cache
    if cache.redis_url is None:
        yield None
        return
    # redis-py costs a fifth of the start, and a gateway without Redis needs none of it.
    from gateway.cache.shared.connecting import linked  # noqa: PLC0415
    from gateway.cache.shared.opening import Tls  # noqa: PLC0415

    async with linked(
        cache.redis_url.get_secret_value(),
        Tls(
            ca_file=_text(cache.redis_ca_file),
            cert_file=_text(cache.redis_cert_file),
            key_file=_text(cache.redis_key_file),
        ),
        Limits(
            lifetime_seconds=freshness.lifetime_seconds,
            hold_seconds=cache.write_hold_seconds,
            lookup_seconds=cache.redis_timeout_ms / 1000,
            max_ratings_per_user=cache.max_ratings_per_user,
        ),
        namespace=cache.namespace,
        gateway_id=secrets.token_hex(8),
        trust_seconds=cache.local_trust_seconds,
        clock=clock,
        tasks=tasks,
        metrics=metrics,
    ) as link:
        yield link


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _hears(cache: Cache, apple: Apple) -> Hears:
    def hears(news: News) -> None:
        if isinstance(news, Throttled):
            apple.hear_throttled()
        else:
            cache.hear(news)

    return hears


def _always(_: float) -> float:
    """Without Redis there is no news to miss."""
    return -math.inf


def _apple(
    settings: Settings,
    tokens: TokenSource,
    quarantine: Quarantine,
    link: "Link | None",
    clock: Clock,
    tasks: Tasks,
    metrics: Metrics,
) -> AbstractAsyncContextManager[Apple]:
    upstream = settings.upstream
    state = metrics.breaker_state.labels("apple")

    def changed(to: State) -> None:
        state.set(to)
        logger().warning("breaker", target="apple", state=to.name.lower())

    def tell(seconds: float) -> None:
        if link is not None:
            tasks.spawn("tell throttled", link.tier.publish(Throttled(seconds)))

    return open_apple(
        base_url=settings.apple.base_url,
        origin=settings.apple.origin,
        max_ids_per_call=upstream.max_ids_per_call,
        call_timeout_seconds=upstream.call_timeout_seconds,
        attempts=upstream.attempts,
        max_concurrency=upstream.max_concurrency,
        tokens=tokens,
        breaker=Breaker(
            error_rate=upstream.breaker_error_rate,
            window_seconds=upstream.breaker_window_seconds,
            min_calls=upstream.breaker_min_calls,
            open_seconds=upstream.breaker_open_seconds,
            on_change=changed,
        ),
        quarantine=quarantine,
        clock=clock,
        metrics=metrics,
        on_throttled=tell,
    )


def _ops(
    settings: Settings, api: Api, cache: Cache, explainer: Explainer, tokens: TokenSource, metrics: Metrics
) -> Ops:
    def checks() -> Sequence[Check]:
        return [
            Check("accepting", not api.draining, "draining" if api.draining else "yes", required=True),
            _token_check(tokens),
        ]

    token = settings.ops.token
    return Ops(
        access=OpsAccess(
            token=None if token is None else token.get_secret_value(), loopback=settings.ops.is_loopback
        ),
        checks=checks,
        purge=cache.purge,
        explain=explainer.explain,
        registry=metrics.registry,
    )


def _token_check(tokens: TokenSource) -> Check:
    try:
        expires_at = tokens.current().expires_at
    except Exception as error:  # noqa: BLE001 - whatever keeps a token from being signed is the finding
        return Check("developer token", ok=False, detail=f"cannot be minted: {error}", required=True)
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires_at))
    return Check("developer token", ok=True, detail=f"valid until {until}", required=True)
