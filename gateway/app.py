"""The composition root: settings in, a wired gateway out, in the order in which a request meets its parts."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

from gateway import factories
from gateway.apple.client import Apple
from gateway.apple.developer_token import TokenSource
from gateway.apple.quarantine import Quarantine
from gateway.cache.cache import Cache
from gateway.cache.entry import Freshness
from gateway.cache.write_log import WriteLog
from gateway.clock import Clock, SystemClock
from gateway.factories import Base
from gateway.fetch.single_flight import SingleFlight
from gateway.observing import Observed, Runtime
from gateway.ops.history import History, sample
from gateway.ops.server import Ops
from gateway.ratings.partition_read import Sources
from gateway.ratings.read import Reader
from gateway.ratings.read_metrics import ReadMetrics
from gateway.ratings.refresh import Refresher
from gateway.ratings.relay import RelayedReads
from gateway.ratings.shadow import Shadow
from gateway.ratings.visibility import Visibility
from gateway.ratings.write import Writer
from gateway.settings import Settings
from gateway.tasks import Tasks
from gateway.telemetry.logs import logger, request_log
from gateway.telemetry.loop_lag import LoopLag
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.recent import RecentErrors
from gateway.web.api import Api, Observe
from gateway.web.headers import CallerCheck

if TYPE_CHECKING:
    from gateway.cache.redis.link import Link


class Gateway(msgspec.Struct, frozen=True):
    """A wired gateway without its listeners."""

    api: Api
    ops: Ops
    runtime: Runtime
    tasks: Tasks
    tokens: TokenSource
    callers: CallerCheck
    link: "Link | None"
    metrics: Metrics


@asynccontextmanager
async def wired(
    settings: Settings, *, clock: Clock | None = None, observe: Observe | None = None
) -> AsyncIterator[Gateway]:
    """Build a gateway; its resources are closed in reverse order at the end."""
    base = factories.base_of(settings, clock or SystemClock())
    guards = factories.guards_of(settings, base.clock, base.metrics)
    callers = CallerCheck(factories.caller_tokens(settings))
    recent = RecentErrors()
    freshness = factories.freshness_of(settings)
    async with (
        factories.redis_link(base, freshness) as link,
        factories.apple_client(base, guards, link) as apple,
    ):
        sources = _sources(base, freshness, link, apple, guards.quarantine)
        writer = _writer(base, sources, apple, link)
        api = _api(base, sources, apple, writer, callers, recent, observe)
        observed = Observed(base, guards, apple, link, sources, api, recent)
        _keep_up(base, observed.history, guards.tokens)
        try:
            yield Gateway(
                api, observed.ops(), observed.runtime, base.tasks, guards.tokens, callers, link, base.metrics
            )
        finally:
            sources.flights.close()
            await base.tasks.cancel()
            api.flush()


def _keep_up(base: Base, history: History, tokens: TokenSource) -> None:
    """Do what is due without requests: the history, the developer token's renewal, the event loop's lag."""
    loop_lag = LoopLag(time.monotonic)
    base.metrics.event_loop_lag.set_function(loop_lag.highest)
    base.tasks.spawn("history", sample(history, base.metrics, base.clock))
    base.tasks.spawn("developer token", tokens.keep())
    base.tasks.spawn("event loop lag", loop_lag.measure())


def _sources(
    base: Base, freshness: Freshness, link: "Link | None", apple: Apple, quarantine: Quarantine
) -> Sources:
    """The cache, the fetches that fill it, and what runs in the background of a read."""
    settings, clock, tasks, metrics = base
    cache = Cache(
        memory=factories.memory_cache(settings, metrics),
        write_log=WriteLog(hold_seconds=settings.cache.write_hold_seconds),
        shared=None if link is None else link.store,
        freshness=freshness,
        trusted_since=factories.always if link is None else link.trusted_since,
        on_drop=lambda *dropped: flights.detach(*dropped),  # noqa: PLW0108 - the flights are made below
        clock=clock,
        tasks=tasks,
        trust_seconds=settings.cache.local_trust_seconds,
        top_up=settings.upstream.top_up,
    )
    flights = SingleFlight(
        apple.fetch,
        cache.store,
        cache.top_up.failed,
        size=apple.batch_size,
        window_seconds=settings.upstream.batch_window_ms / 1000,
        fetch_seconds=settings.server.request_timeout_seconds,
        call_seconds=settings.upstream.call_timeout_seconds,
        tasks=tasks,
        clock=clock,
        metrics=metrics,
    )
    shadow = None
    if (fraction := settings.cache.shadow_fraction) > 0:
        shadow = Shadow(fraction, cache=cache, flights=flights, clock=clock, tasks=tasks, metrics=metrics)
    refresher = Refresher(flights, tasks, metrics)
    return Sources(cache, flights, quarantine, refresher, shadow, ReadMetrics(metrics))


def _writer(base: Base, sources: Sources, apple: Apple, link: "Link | None") -> Writer:
    """The writer, and the checks that what was written is served."""
    visibility = Visibility(
        sources,
        clock=base.clock,
        tasks=base.tasks,
        metrics=base.metrics,
        log=logger(),
        hold_seconds=base.settings.cache.write_hold_seconds,
        sampled=factories.drawn(base.settings.cache.visibility_fraction),
    )
    if link is not None:
        link.listen(factories.invalidation_handler(sources.cache, apple), visibility.on_announcement)
    # With Redis, a write is checked when its announcement arrives.
    on_written = visibility.on_written if link is None else None
    return Writer(
        cache=sources.cache,
        apple=apple,
        tasks=base.tasks,
        clock=base.clock,
        call_timeout_seconds=base.settings.upstream.call_timeout_seconds,
        on_written=on_written,
    )


def _api(
    base: Base,
    sources: Sources,
    apple: Apple,
    writer: Writer,
    callers: CallerCheck,
    recent: RecentErrors,
    observe: Observe | None,
) -> Api:
    settings, reader = base.settings, Reader(sources, base.clock)
    return Api(
        reader=reader,
        relayed=RelayedReads(reader, cache=sources.cache, apple=apple, clock=base.clock),
        writer=writer,
        max_ids=settings.server.max_ids,
        check_caller=callers,
        request_timeout_seconds=settings.server.request_timeout_seconds,
        logs_hit=factories.drawn(settings.log.sample_hits),
        clock=base.clock,
        metrics=base.metrics,
        log=logger(),
        request_log=request_log(level=settings.log.level, format_=settings.log.format),
        recent=recent,
        observe=observe,
    )
