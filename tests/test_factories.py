"""Parts are made as the settings say, and report their state in metrics and log lines."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf
from typing import cast
from unittest.mock import AsyncMock, Mock

import pytest
from structlog.testing import capture_logs

from gateway import factories
from gateway.apple.client import Apple, Outbound
from gateway.apple.response import AppleResponse
from gateway.breaker import Breaker, State
from gateway.cache.cache import Cache
from gateway.cache.entry import Freshness
from gateway.cache.invalidation import Purge, Throttled
from gateway.cache.redis.connect import Tls
from gateway.cache.redis.layout import Limits
from gateway.errors import UpstreamError
from gateway.model import Id, Kind, Partition, User
from gateway.tasks import Tasks
from gateway.telemetry.metrics import Metrics
from gateway.waiters import Requester, Waiters
from tests.apple.builders import FakeTransport
from tests.hand_clock import HandClock
from tests.minimal_settings import settings
from tests.ports import free_port
from tests.waiting import other_tasks, until

USER = User.of("a user's token")
ALBUMS = Partition(USER, Kind.ALBUMS)


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


class TestDeveloperToken:
    def test_its_changes_are_logged_and_a_refusal_is_a_warning(self):
        with capture_logs() as logged:
            tokens = factories.token_source(settings(), HandClock(), Metrics())
            tokens.refuse(tokens.current().text)
        assert [(line["log_level"], line["event"], line["state"]) for line in logged] == [
            ("info", "developer_token", "minted"),
            ("warning", "developer_token", "refused"),
            ("info", "developer_token", "minted"),
        ]


def test_caller_tokens_are_those_of_the_settings():
    assert factories.caller_tokens(settings(server__caller_tokens="one,two")) == ["one", "two"]


class TestMemory:
    def test_it_is_bounded_by_the_settings_and_evictions_are_counted(self):
        metrics = Metrics()
        memory = factories.memory_cache(settings(cache__local_max_entries=1), metrics)
        entry = factories.freshness_of(settings()).entry(1, 0.0, fresh_seconds=300.0)
        memory.put(ALBUMS, {Id("1"): entry, Id("2"): entry}, 0.0)
        assert sample(metrics, "gateway_local_cache_entries") == 1
        assert sample(metrics, "gateway_local_cache_evictions_total") == 1
        assert sample(metrics, "gateway_local_cache_bytes") == memory.bytes > 0

    def test_freshness_is_that_of_the_settings(self):
        made = factories.freshness_of(
            settings(
                cache__fresh_seconds=10,
                cache__stale_while_revalidate_seconds=20,
                cache__stale_if_error_seconds=30,
                cache__jitter=0.1,
            )
        )
        assert made == Freshness(
            fresh_seconds=10.0,
            stale_while_revalidate_seconds=20.0,
            stale_if_error_seconds=30.0,
            jitter=0.1,
        )


class TestRedis:
    async def link_state(self, metrics: Metrics, **more: object) -> State | None:
        tasks = Tasks(lambda name, _: pytest.fail(name))
        made = settings(**more)
        freshness = factories.freshness_of(made)
        async with factories.redis_link(factories.Base(made, HandClock(), tasks, metrics), freshness) as link:
            state = None if link is None else link.state
        await tasks.cancel()
        return state

    async def test_without_a_url_there_is_no_link(self):
        assert await self.link_state(Metrics()) is None

    async def test_a_redis_that_does_not_answer_is_reported_once_in_the_log_and_as_a_metric(self):
        metrics = Metrics()
        with capture_logs() as logged:
            state = await self.link_state(metrics, cache__redis_url=f"redis://127.0.0.1:{free_port()}")
        assert (state, sample(metrics, "gateway_breaker_state", target="redis")) == (State.OPEN, State.OPEN)
        assert [(line["event"], line["target"], line["state"]) for line in logged] == [
            ("breaker", "redis", "open")
        ]
        assert logged[0]["reason"].startswith("connection: ")

    async def test_the_reason_of_a_state_is_logged_once_also_if_it_becomes_known_later(self):
        with capture_logs() as logged:
            report = factories.state_reporter("redis", Metrics())
            for state, reason in (
                (State.OPEN, None),
                (State.OPEN, None),
                (State.OPEN, "timeout"),
                (State.OPEN, "connection: refused"),
                (State.CLOSED, None),
                (State.OPEN, "denied"),
            ):
                report(state, reason)
        assert [(line["state"], line.get("reason")) for line in logged] == [
            ("open", None),
            ("open", "timeout"),
            ("closed", None),
            ("open", "denied"),
        ]

    async def test_its_limits_follow_from_the_settings(self, monkeypatch):
        given: list[Limits] = []

        @asynccontextmanager
        async def linked(_url: str, _tls: Tls, limits: Limits, **_: object) -> AsyncIterator[None]:
            given.append(limits)
            yield

        monkeypatch.setattr("gateway.cache.redis.link.linked", linked)
        made = settings(
            cache__redis_url="redis://127.0.0.1",
            cache__redis_timeout_ms=50,
            cache__write_hold_seconds=7,
            server__request_timeout_seconds=10,
            upstream__call_timeout_seconds=3,
        )
        tasks = Tasks(lambda name, _: pytest.fail(name))
        base = factories.Base(made, HandClock(), tasks, Metrics())
        async with factories.redis_link(base, factories.freshness_of(made)):
            (limits,) = given
        # A caller waits for ten minutes at most; a call may be sent at their end, and Redis gets two seconds.
        assert (limits.longest_write_seconds, limits.hold_seconds, limits.lookup_seconds) == (
            605.0,
            7.0,
            0.05,
        )


@pytest.mark.parametrize(("fraction", "drawn"), [(0.0, {False}), (1.0, {True}), (0.5, {True, False})])
def test_a_share_of_the_calls_is_drawn(fraction, drawn):
    draw = factories.drawn(fraction)
    assert {draw() for _ in range(200)} == drawn


class TestBreaker:
    def state_after_failure(self, breaker: Breaker) -> State:
        admission = breaker.admit(0.0)
        assert admission is not None
        breaker.record(admission, ok=False, now=0.0)
        return breaker.state

    def test_it_opens_as_the_settings_say_and_reports_that_in_the_log_and_as_a_metric(self):
        metrics = Metrics()
        breaker = factories.apple_breaker(settings(upstream__breaker_min_calls=2), metrics)
        with capture_logs() as logged:
            states = [self.state_after_failure(breaker) for _ in range(2)]
        assert states == [State.CLOSED, State.OPEN]
        assert sample(metrics, "gateway_breaker_state", target="apple") == State.OPEN
        assert [(line["log_level"], line["target"], line["state"]) for line in logged] == [
            ("warning", "apple", "open")
        ]


class TestAppleClient:
    @pytest.fixture
    def connected(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
        """How Apple is connected to; it answers each call with 429."""
        given: dict[str, object] = {}

        @asynccontextmanager
        async def connect(**more: object) -> AsyncIterator[FakeTransport]:
            given.update(more)
            transport = FakeTransport()
            transport.otherwise = AppleResponse(429, b"", 2.0)
            yield transport

        monkeypatch.setattr(factories, "connect", connect)
        return given

    async def call(self, link: Mock | None = None, **more: object) -> None:
        tasks, clock, metrics = Tasks(lambda name, _: pytest.fail(name)), HandClock(), Metrics()
        made = settings(**more)
        base = factories.Base(made, clock, tasks, metrics)
        async with factories.apple_client(base, factories.guards_of(made, clock, metrics), link) as apple:
            call = Outbound("bypass", "GET", "/v1/x", "", USER)
            sent = await apple.send(call, clock.monotonic() + 1.0, Waiters(Requester()))
            assert isinstance(sent, UpstreamError)

    @pytest.mark.parametrize("url", [None, "http://user:password@proxy.test:3128"])
    async def test_it_uses_the_proxy_of_the_settings(self, connected, url):
        await self.call(**({} if url is None else {"apple__proxy_url": url}))
        assert connected["proxy_url"] == url

    @pytest.mark.usefixtures("connected")
    async def test_a_429_is_published_to_the_other_gateways(self):
        link = Mock()
        link.store.publish = AsyncMock()
        await self.call(link)
        await until(lambda: not other_tasks())
        link.store.publish.assert_awaited_once_with(Throttled(2.0))

    @pytest.mark.usefixtures("connected")
    async def test_without_redis_a_429_is_not_published(self):
        await self.call()
        assert not other_tasks()


class TestInvalidationHandler:
    def test_a_429_elsewhere_slows_the_client_of_apple_and_the_rest_goes_to_the_cache(self):
        cache, apple = Mock(spec=Cache), Mock(spec=Apple)
        handle = factories.invalidation_handler(cast(Cache, cache), cast(Apple, apple))
        handle(Throttled(1.0))
        assert (apple.throttled_elsewhere.call_count, cache.on_invalidation.call_count) == (1, 0)
        purge = Purge(USER.key)
        handle(purge)
        cache.on_invalidation.assert_called_once_with(purge)
        assert apple.throttled_elsewhere.call_count == 1


def test_without_redis_every_entry_is_trusted():
    assert factories.always(1000.0) == -inf
