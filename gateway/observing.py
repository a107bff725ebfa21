"""What operators see of a gateway: a frozen snapshot of its status, its checks, the ops listener."""

import platform
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jwt

from gateway import __version__
from gateway.apple.client import Apple
from gateway.breaker import State
from gateway.factories import Base, Guards
from gateway.ops.access import OpsAccess
from gateway.ops.formatting import NOTHING, by_frequency
from gateway.ops.health import Check
from gateway.ops.history import History, HistorySample, Interval, quantile, read, total
from gateway.ops.pages import Pages
from gateway.ops.server import Ops, Reloaded
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
from gateway.ratings.explain import Explainer
from gateway.ratings.partition_read import Sources
from gateway.settings import Settings
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
        self.last_reload: Reloaded | None = None
        """None if the settings were not read again since the start."""

    def urls(self) -> tuple[str, str]:
        """Of the API and of the ops listener."""
        return self.api_url, self.ops_url


class Observed:
    """The parts of a gateway that operators see, and what happened to it since the start."""

    def __init__(
        self,
        base: Base,
        guards: Guards,
        apple: Apple,
        link: "Link | None",
        sources: Sources,
        api: Api,
        recent: RecentErrors,
    ) -> None:
        self._settings, self._clock, _, self._metrics = base
        self._tokens, _, self._breaker = guards
        self._limiter = apple.limiter
        self._batch_size = apple.batch_size
        self._link = link
        self._cache = sources.cache
        self._explainer = Explainer(sources, self._clock, refusal=apple.refusal)
        self._api = api
        self._recent = recent
        self._started_at = self._clock.monotonic()
        self.history = History()
        self.runtime = Runtime(self._settings)

    def ops(self) -> Ops:
        """The handlers of the ops listener."""
        token = self._settings.ops.token
        access = OpsAccess(token=None if token is None else token.get_secret_value())
        pages = Pages(
            access=access,
            snapshot=self.snapshot,
            urls=self.runtime.urls,
            explain=self._explainer.explain,
        )
        return Ops(
            access=access,
            checks=self.checks,
            started=lambda: self.runtime.accepting,
            purge=self._cache.purge,
            pages=pages,
            registry=self._metrics.registry,
        )

    def snapshot(self, access: AccessView) -> Snapshot:
        """The status now; settings and recent errors only if access is granted."""
        now = self._clock.monotonic()
        reading = read(self._metrics)
        lately = self.history.lately(reading, now, collect.WINDOW_SECONDS)
        counted = lately.counted
        return Snapshot(
            access=access,
            process=self._process(now, counted, granted=access.granted),
            window_seconds=lately.seconds,
            traffic=collect.traffic(lately),
            tiers=(collect.tier("local", counted), collect.tier("shared", counted)),
            cached_ratio=collect.cached_ratio(counted),
            upstream=self._upstream(lately),
            breakers=self._breakers(now),
            redis=self._redis(now, counted, granted=access.granted),
            token=self._token(),
            local=self._local(counted),
            visibility=collect.visibility(reading, counted),
            course=collect.course(self.history.course(), now),
            recent_errors=self._recent.latest() if access.granted else None,
            settings=self._shown_settings() if access.granted else None,
        )

    def checks(self, *, granted: bool) -> Sequence[Check]:
        """The checks of `/readyz`. A sidecar that failed for Apple or Redis would take its pod down."""
        found = [
            self._accepting(),
            self._token_check(),
            self._acceptance_check(),
            _reported("apple", self._breaker.state, by_frequency(self._breaker.causes)),
        ]
        if self._link is None:
            return found
        # Its kind is a word; what follows may name addresses and users.
        reason = self._link.reason or ""
        shown = reason if granted else reason.partition(": ")[0]
        return [*found, _reported("redis", self._link.state, shown)]

    def _accepting(self) -> Check:
        if self._api.draining:
            return Check("accepting", ok=False, detail="draining", required=True)
        accepting = self.runtime.accepting
        return Check("accepting", accepting, "yes" if accepting else "not listening yet", required=True)

    def _token_check(self) -> Check:
        try:
            expires_at = self._tokens.current().expires_at
        except Exception as error:  # noqa: BLE001 - any error that keeps a token from being signed is the finding
            return Check("developer token", ok=False, detail=f"cannot be minted: {error}", required=True)
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires_at))
        return Check("developer token", ok=True, detail=f"valid until {until}", required=True)

    def _acceptance_check(self) -> Check:
        """A gateway whose token Apple refuses still serves what is cached."""
        detail = "refused by Apple (401)" if self._tokens.refused else "not refused"
        return Check("developer token accepted", not self._tokens.refused, detail, required=False)

    def _process(self, now: float, counted: HistorySample, *, granted: bool) -> Process:
        at, reload = self._clock.time(), self.runtime.last_reload
        return Process(
            version=__version__,
            python=platform.python_version(),
            at=at,
            started_at=at - (now - self._started_at),
            uptime_seconds=now - self._started_at,
            api_url=self.runtime.api_url,
            asks_caller_token=self.runtime.settings["server.caller_tokens"] != NOTHING,
            ops_url=self.runtime.ops_url,
            checks=tuple(self.checks(granted=granted)),
            last_reload_successful=reload is None or reload.fault is None,
            reload_fault=reload.fault if reload is not None and granted else None,
            reloaded=reload is not None,
            not_applied=() if reload is None else reload.not_applied,
            log_lines_dropped=int(total(counted.log_lines_dropped)),
        )

    def _upstream(self, lately: Interval) -> UpstreamView:
        counted = lately.counted
        return UpstreamView(
            url=self._settings.apple.base_url,
            calls=int(total(counted.calls)),
            rate=lately.rate(counted.calls),
            by_status=collect.by_label(counted.calls),
            failed_share=collect.failed_share(counted.calls),
            p50_seconds=quantile(counted.call_durations, 0.5),
            p99_seconds=quantile(counted.call_durations, 0.99),
            retries=int(total(counted.retries)),
            quarantined=int(total(counted.quarantined)),
            in_flight=self._limiter.in_flight,
            limit=self._limiter.limit,
            max_limit=self._settings.upstream.max_concurrency,
            batch_size=self._batch_size(),
            max_batch_size=self._settings.upstream.max_ids_per_call,
        )

    def _breakers(self, now: float) -> tuple[BreakerView, ...]:
        since = self._breaker.since or self._started_at
        apple = BreakerView(
            target="apple",
            state=self._breaker.state.label,
            for_seconds=now - since,
            causes=dict(self._breaker.causes),
        )
        if self._link is None:
            return (apple,)
        for_seconds = now - self._link.state_since
        return apple, BreakerView(target="redis", state=self._link.state.label, for_seconds=for_seconds)

    def _redis(self, now: float, counted: HistorySample, *, granted: bool) -> RedisView | None:
        if self._link is None:
            return None
        return RedisView(
            address=self.runtime.settings["cache.redis_url"],
            answering=self._link.state is State.CLOSED,
            answering_for_seconds=now - self._link.state_since,
            subscribed=self._link.subscribed,
            subscribed_for_seconds=now - self._link.subscribed_since,
            undelivered_writes=self._link.store.undelivered,
            errors=collect.by_label(counted.redis_errors),
            reason=self._link.reason if granted else None,
        )

    def _token(self) -> TokenView:
        token = self._tokens.current()
        return TokenView(
            key_id=jwt.get_unverified_header(token.text)["kid"],
            expires_at=token.expires_at,
            expires_in_seconds=token.expires_at - self._clock.time(),
            refused=self._tokens.refused,
            apples_clock_ahead_seconds=self._tokens.apples_clock_ahead,
        )

    def _local(self, counted: HistorySample) -> LocalView:
        cache = self._settings.cache
        return LocalView(
            entries=self._cache.memory.entries,
            max_entries=cache.local_max_entries,
            bytes=self._cache.memory.bytes,
            max_bytes=cache.local_max_bytes,
            evictions=int(total(counted.evictions)),
            trust_seconds=cache.local_trust_seconds,
        )

    def _shown_settings(self) -> tuple[SettingView, ...]:
        return tuple(
            SettingView(name=name, value=value, source=self._settings.sources[name])
            for name, value in self.runtime.settings.items()
        )


def _reported(target: str, state: State, reason: str) -> Check:
    # Not "answering": it takes more than one failure to open it.
    closed = state is State.CLOSED
    why = f" ({reason})" if reason and not closed else ""
    return Check(target, closed, f"circuit breaker {state.label}{why}", required=False)
