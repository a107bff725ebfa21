"""What operators see of a gateway: checks, the status page's sources, and the ops listener with them."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from gateway.apple.developer_token import TokenSource
from gateway.breaker import Breaker, State
from gateway.cache.cache import Cache
from gateway.clock import Clock
from gateway.ops.access import OpsAccess
from gateway.ops.health import Check
from gateway.ops.history import History
from gateway.ops.pages import Pages
from gateway.ops.server import Ops
from gateway.ops.status.collect import Bounds, Sources, breaker_view
from gateway.ops.status.snapshot import BreakerView, RedisView
from gateway.ratings.explain import Explainer
from gateway.settings import Settings
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.recent import RecentErrors
from gateway.web.api import Api

if TYPE_CHECKING:
    from gateway.cache.redis.link import Link


class Runtime:
    """What becomes known, and changes, while the gateway runs."""

    def __init__(self, settings: Settings) -> None:
        self.api_url = self.ops_url = ""
        """URLs of the listeners, once they listen."""
        self.accepting = False
        """Whether the API listener accepts connections."""
        self.settings = settings.masked()
        """The settings in force, as text to show."""
        self.not_applied: Sequence[str] = ()
        """Settings whose changed value needs a restart."""

    def urls(self) -> tuple[str, str]:
        """Of the API and of the ops listener."""
        return self.api_url, self.ops_url


class Observed(NamedTuple):
    """The parts that are looked at."""

    settings: Settings
    api: Api
    cache: Cache
    explainer: Explainer
    tokens: TokenSource
    breaker: Breaker
    link: "Link | None"
    metrics: Metrics
    recent: RecentErrors
    history: History
    runtime: Runtime
    clock: Clock
    started_at: float
    """By the clock's monotonic seconds."""

    def checks(self) -> Sequence[Check]:
        """The findings of `/readyz`: what is this gateway's own decides, the rest is reported."""
        found = [
            self._accepting(),
            _token_check(self.tokens),
            _reported("apple", self.breaker.state),
        ]
        return found if self.link is None else [*found, _reported("redis", self.link.state)]

    def _accepting(self) -> Check:
        if self.api.draining:
            return Check("accepting", ok=False, detail="draining", required=True)
        accepting = self.runtime.accepting
        return Check("accepting", accepting, "yes" if accepting else "not listening yet", required=True)

    def breakers(self) -> Sequence[BreakerView]:
        now = self.clock.monotonic()
        apple = breaker_view("apple", self.breaker.state, self.breaker.since or self.started_at, now)
        if self.link is None:
            return [apple]
        return [apple, breaker_view("redis", self.link.state, self.link.state_since, now)]

    def redis(self) -> RedisView | None:
        if self.link is None:
            return None
        now = self.clock.monotonic()
        return RedisView(
            address=self.runtime.settings["cache.redis_url"],
            answering=self.link.state is State.CLOSED,
            answering_for_seconds=now - self.link.state_since,
            news=self.link.subscribed,
            news_for_seconds=now - self.link.subscribed_since,
            untold_writes=self.link.tier.untold,
        )


def ops_of(observed: Observed) -> Ops:
    """The ops listener's handlers."""
    token = observed.settings.ops.token
    access = OpsAccess(token=None if token is None else token.get_secret_value())
    pages = Pages(access=access, sources=_sources(observed), explain=observed.explainer.explain)
    return Ops(
        access=access,
        checks=observed.checks,
        started=lambda: observed.runtime.accepting,
        purge=observed.cache.purge,
        pages=pages,
        registry=observed.metrics.registry,
    )


def _sources(observed: Observed) -> Sources:
    settings = observed.settings
    return Sources(
        metrics=observed.metrics,
        history=observed.history,
        recent=observed.recent,
        clock=observed.clock,
        started_at=observed.started_at,
        addresses=observed.runtime.urls,
        not_applied=lambda: observed.runtime.not_applied,
        checks=observed.checks,
        breakers=observed.breakers,
        redis=observed.redis,
        upstream_url=settings.apple.base_url,
        bounds=Bounds(
            max_concurrency=settings.upstream.max_concurrency,
            local_max_entries=settings.cache.local_max_entries,
            local_max_bytes=settings.cache.local_max_bytes,
            local_trust_seconds=settings.cache.local_trust_seconds,
        ),
        settings=observed.runtime.settings,
        settings_from=settings.sources,
    )


def _reported(target: str, state: State) -> Check:
    """A sidecar whose readiness hung on these would take its pod down."""
    detail = {State.CLOSED: "answering", State.HALF_OPEN: "being tried again", State.OPEN: "not answering"}
    return Check(target, state is State.CLOSED, detail[state], required=False)


def _token_check(tokens: TokenSource) -> Check:
    try:
        expires_at = tokens.current().expires_at
    except Exception as error:  # noqa: BLE001 - whatever keeps a token from being signed is the finding
        return Check("developer token", ok=False, detail=f"cannot be minted: {error}", required=True)
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires_at))
    return Check("developer token", ok=True, detail=f"valid until {until}", required=True)
