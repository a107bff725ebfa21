"""What operators see of a gateway: a frozen snapshot of its status, its checks, the ops listener."""

import platform
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import jwt
from prometheus_client import Gauge

from gateway import __version__
from gateway.apple.developer_token import TokenSource
from gateway.breaker import Breaker, State
from gateway.cache.cache import Cache
from gateway.clock import Clock
from gateway.ops.access import OpsAccess
from gateway.ops.health import Check
from gateway.ops.history import History, HistorySample, Interval, quantile, read, total
from gateway.ops.pages import Pages
from gateway.ops.server import Ops
from gateway.ops.status import collect
from gateway.ops.status.snapshot import (
    AccessView,
    BreakerView,
    LocalView,
    Process,
    RedisView,
    SettingView,
    Snapshot,
    TokenView,
    UpstreamView,
)
from gateway.ops.words import NOTHING
from gateway.ratings.explain import Explainer
from gateway.settings import Settings
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.recent import RecentErrors
from gateway.web.api import Api

if TYPE_CHECKING:
    from gateway.cache.redis.link import Link


class Runtime:
    """State that is set, and changes, while the gateway runs."""

    def __init__(self, settings: Settings) -> None:
        self.api_url = self.ops_url = ""
        """URLs of the listeners, once they listen."""
        self.accepting = False
        """Whether the API listener accepts connections."""
        self.settings = settings.masked()
        """The settings in force, as text."""
        self.reloaded = False
        """Whether the settings were read again since the start."""
        self.not_applied: Sequence[str] = ()
        """Settings whose changed value needs a restart."""

    def urls(self) -> tuple[str, str]:
        """Of the API and of the ops listener."""
        return self.api_url, self.ops_url


class Observed(NamedTuple):
    """The parts of a gateway that operators see."""

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

    def snapshot(self, access: AccessView) -> Snapshot:
        """The status now; settings and recent errors only if access is granted."""
        now = self.clock.monotonic()
        reading = read(self.metrics)
        lately = self.history.lately(reading, now, collect.WINDOW_SECONDS)
        counted = lately.counted
        return Snapshot(
            access=access,
            process=self._process(now),
            window_seconds=lately.seconds,
            traffic=collect.traffic(lately),
            tiers=(collect.tier("local", counted), collect.tier("shared", counted)),
            cached_ratio=collect.cached_ratio(counted),
            upstream=self._upstream(lately),
            breakers=self._breakers(now),
            redis=self._redis(now, counted),
            token=self._token(),
            local=self._local(counted),
            visibility=collect.visibility(reading, counted),
            course=collect.course(self.history.course(), now),
            recent_errors=self.recent.latest() if access.granted else None,
            settings=self._settings() if access.granted else None,
        )

    def checks(self) -> Sequence[Check]:
        """The checks of `/readyz`. A sidecar that failed for Apple or Redis would take its pod down."""
        found = [
            self._accepting(),
            self._token_check(),
            self._acceptance_check(),
            _reported("apple", self.breaker.state),
        ]
        return found if self.link is None else [*found, _reported("redis", self.link.state)]

    def _accepting(self) -> Check:
        if self.api.draining:
            return Check("accepting", ok=False, detail="draining", required=True)
        accepting = self.runtime.accepting
        return Check("accepting", accepting, "yes" if accepting else "not listening yet", required=True)

    def _token_check(self) -> Check:
        try:
            expires_at = self.tokens.current().expires_at
        except Exception as error:  # noqa: BLE001 - any error that keeps a token from being signed is the finding
            return Check("developer token", ok=False, detail=f"cannot be minted: {error}", required=True)
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires_at))
        return Check("developer token", ok=True, detail=f"valid until {until}", required=True)

    def _acceptance_check(self) -> Check:
        """A gateway whose token Apple refuses still serves what is cached."""
        detail = "refused by Apple (401)" if self.tokens.refused else "not refused"
        return Check("developer token accepted", not self.tokens.refused, detail, required=False)

    def _process(self, now: float) -> Process:
        at = self.clock.time()
        return Process(
            version=__version__,
            python=platform.python_version(),
            at=at,
            started_at=at - (now - self.started_at),
            uptime_seconds=now - self.started_at,
            api_url=self.runtime.api_url,
            asks_caller_token=self.runtime.settings["server.caller_tokens"] != NOTHING,
            ops_url=self.runtime.ops_url,
            checks=tuple(self.checks()),
            last_reload_successful=_value(self.metrics.config_last_reload_successful) == 1,
            reloaded=self.runtime.reloaded,
            not_applied=tuple(self.runtime.not_applied),
        )

    def _upstream(self, lately: Interval) -> UpstreamView:
        counted = lately.counted
        return UpstreamView(
            url=self.settings.apple.base_url,
            calls=int(total(counted.calls)),
            rate=lately.rate(counted.calls),
            by_status=collect.by_label(counted.calls),
            failed_share=collect.failed_share(counted.calls),
            p50_seconds=quantile(counted.call_durations, 0.5),
            p99_seconds=quantile(counted.call_durations, 0.99),
            retries=int(total(counted.retries)),
            quarantined=int(total(counted.quarantined)),
            in_flight=int(_value(self.metrics.upstream_in_flight)),
            limit=int(_value(self.metrics.upstream_concurrency_limit)),
            max_limit=self.settings.upstream.max_concurrency,
        )

    def _breakers(self, now: float) -> tuple[BreakerView, ...]:
        since = self.breaker.since or self.started_at
        apple = BreakerView(
            target="apple",
            state=self.breaker.state.label,
            for_seconds=now - since,
            causes=dict(self.breaker.causes),
        )
        if self.link is None:
            return (apple,)
        for_seconds = now - self.link.state_since
        return apple, BreakerView(target="redis", state=self.link.state.label, for_seconds=for_seconds)

    def _redis(self, now: float, counted: HistorySample) -> RedisView | None:
        if self.link is None:
            return None
        return RedisView(
            address=self.runtime.settings["cache.redis_url"],
            answering=self.link.state is State.CLOSED,
            answering_for_seconds=now - self.link.state_since,
            subscribed=self.link.subscribed,
            subscribed_for_seconds=now - self.link.subscribed_since,
            undelivered_writes=self.link.store.undelivered,
            errors=collect.by_label(counted.redis_errors),
        )

    def _token(self) -> TokenView:
        token = self.tokens.current()
        return TokenView(
            key_id=jwt.get_unverified_header(token.text)["kid"],
            expires_at=token.expires_at,
            expires_in_seconds=token.expires_at - self.clock.time(),
            refused=self.tokens.refused,
            apples_clock_ahead_seconds=_value(self.metrics.apple_clock_skew),
        )

    def _local(self, counted: HistorySample) -> LocalView:
        cache = self.settings.cache
        return LocalView(
            entries=int(_value(self.metrics.local_cache_entries)),
            max_entries=cache.local_max_entries,
            bytes=int(_value(self.metrics.local_cache_bytes)),
            max_bytes=cache.local_max_bytes,
            evictions=int(total(counted.evictions)),
            trust_seconds=cache.local_trust_seconds,
        )

    def _settings(self) -> tuple[SettingView, ...]:
        return tuple(
            SettingView(name=name, value=value, source=self.settings.sources[name])
            for name, value in self.runtime.settings.items()
        )


def ops_of(observed: Observed) -> Ops:
    """The handlers of the ops listener."""
    token = observed.settings.ops.token
    access = OpsAccess(token=None if token is None else token.get_secret_value())
    pages = Pages(
        access=access,
        snapshot=observed.snapshot,
        urls=observed.runtime.urls,
        explain=observed.explainer.explain,
    )
    return Ops(
        access=access,
        checks=observed.checks,
        started=lambda: observed.runtime.accepting,
        purge=observed.cache.purge,
        pages=pages,
        registry=observed.metrics.registry,
    )


def _reported(target: str, state: State) -> Check:
    detail = {State.CLOSED: "answering", State.HALF_OPEN: "being probed", State.OPEN: "not answering"}
    return Check(target, state is State.CLOSED, detail[state], required=False)


def _value(metric: Gauge) -> float:
    return next(iter(metric.collect())).samples[0].value
