"""The composition root: settings in, a wired gateway out, in the order in which a request meets its parts."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

from gateway import parts
from gateway.breaker import Breaker, State
from gateway.cache.ledger import Ledger
from gateway.cache.tiers import Cache
from gateway.clock import Clock, SystemClock
from gateway.loading.flights import Flights
from gateway.ops.access import OpsAccess
from gateway.ops.health import Check
from gateway.ops.server import Ops
from gateway.ratings.explaining import Explainer
from gateway.ratings.reading import reader_of
from gateway.ratings.refreshing import Refresher
from gateway.ratings.shadowing import Shadow
from gateway.ratings.shelf_read import Sources
from gateway.ratings.writing import Writer
from gateway.settings import Settings
from gateway.tasks import Tasks
from gateway.telemetry.logs import logger, request_log
from gateway.telemetry.metrics import Metrics
from gateway.upstream.developer_token import TokenSource
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
    tokens = TokenSource(parts.signing_key(settings), clock, metrics)
    quarantine = Quarantine(seconds=settings.upstream.quarantine_seconds, metrics=metrics)
    breaker = parts.apple_breaker(settings, metrics)
    freshness = parts.freshness_of(settings)
    async with (
        parts.redis_link(settings, freshness, clock, tasks, metrics) as link,
        parts.apple_client(settings, tokens, quarantine, breaker, link, clock, tasks, metrics) as apple,
    ):
        cache = Cache(
            local=parts.local_tier(settings, metrics),
            ledger=Ledger(hold_seconds=settings.cache.write_hold_seconds),
            shared=None if link is None else link.tier,
            freshness=freshness,
            believed_since=parts.always if link is None else link.believed_since,
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
            link.listen(parts.hearer(cache, apple))
        shadow = None
        if (fraction := settings.cache.shadow_fraction) > 0:
            shadow = Shadow(fraction, cache=cache, flights=flights, clock=clock, tasks=tasks, metrics=metrics)
        sources = Sources(cache, flights, quarantine, Refresher(flights, tasks, metrics), shadow)
        api = Api(
            reader=reader_of(sources, clock, metrics),
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
        ops = _ops(settings, api, cache, Explainer(sources, clock), tokens, breaker, link, metrics)
        yield Gateway(api, ops, tasks, tokens, metrics)
        flights.close()
        await tasks.cancel()
        if lines is not None:
            lines.flush()


def _ops(
    settings: Settings,
    api: Api,
    cache: Cache,
    explainer: Explainer,
    tokens: TokenSource,
    breaker: Breaker,
    link: "Link | None",
    metrics: Metrics,
) -> Ops:
    def checks() -> Sequence[Check]:
        found = [
            Check("accepting", not api.draining, "draining" if api.draining else "yes", required=True),
            _token_check(tokens),
            _breaker_check("apple", breaker.state),
        ]
        return found if link is None else [*found, _breaker_check("redis", link.state)]

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


def _breaker_check(target: str, state: State) -> Check:
    """Reported only: a sidecar that failed for these would take its pod down."""
    detail = {State.CLOSED: "answering", State.HALF_OPEN: "being tried again", State.OPEN: "not answering"}
    return Check(target, state is State.CLOSED, detail[state], required=False)


def _token_check(tokens: TokenSource) -> Check:
    try:
        expires_at = tokens.current().expires_at
    except Exception as error:  # noqa: BLE001 - whatever keeps a token from being signed is the finding
        return Check("developer token", ok=False, detail=f"cannot be minted: {error}", required=True)
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires_at))
    return Check("developer token", ok=True, detail=f"valid until {until}", required=True)
