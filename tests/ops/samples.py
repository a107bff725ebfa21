"""Snapshots of healthy and of failing gateways."""

import math
from typing import Any

from msgspec.structs import replace

from gateway.ops.health import Check
from gateway.ops.status.snapshot import (
    AccessView,
    BreakerView,
    LocalView,
    Point,
    Process,
    RedisView,
    SettingView,
    Snapshot,
    Tier,
    TokenView,
    Traffic,
    UpstreamView,
    VisibilityView,
)
from gateway.telemetry.recent import RecentError

NOW = 1_780_000_000.0

ERRORS = tuple(
    RecentError(
        f"checkout-{number}", NOW - 40 * number, method, route, status, code, cause, detail, again
    )
    for number, (method, route, status, code, cause, detail, again) in enumerate(
        [
            (
                "GET", "/v1/me/ratings/{type}", 503, "50300", "apple: destination unavailable",
                "Apple Music fails too often; it is not asked for now.",
                "/v1/me/ratings/albums?ids=1138988512,475655712",
            ),
            ("PUT", "/v1/me/ratings/{type}/{id}", 504, "50400", "deadline: http response timeout",
             "Apple Music did not answer within the time that the request allows.",
             "/v1/me/ratings/songs?ids=900000001"),
            ("GET", "unmatched", 404, "40401", "request", "No Such Path", None),
        ]
    )
)  # fmt: skip
SETTINGS = tuple(
    SettingView(name=name, value=value, source=source)
    for name, value, source in (
        ("server.host", "127.0.0.1", "default"),
        ("server.port", "8080", "default"),
        ("server.caller_tokens", "******,******", "file /etc/ratings-gateway/gateway.toml"),
        ("apple.key_id", "SANDBOXKEY", "environment GATEWAY_APPLE__KEY_ID"),
        ("apple.private_key", "******", "environment GATEWAY_APPLE__PRIVATE_KEY_FILE"),
        ("cache.redis_url", "redis://******@cache.internal:6379/0", "environment GATEWAY_CACHE__REDIS_URL"),
        ("cache.fresh_seconds", "300", "default"),
    )
)  # fmt: skip


def course(**changed: Any) -> tuple[Point, ...]:
    """An hour of varying traffic."""
    return tuple(
        Point(
            ago_seconds=60.0 * (59 - minute),
            requests=changed.get("requests", 240 + 80 * math.sin(minute / 9) + minute % 7),
            failures=changed.get("failures", 0.0),
            calls=22 + 9 * math.sin(minute / 9) + minute % 5,
            local_ratio=0.78 + 0.06 * math.sin(minute / 11),
            cached_ratio=0.93 + 0.03 * math.sin(minute / 11),
            p50_seconds=0.0006 + 0.0002 * math.sin(minute / 7),
            p99_seconds=0.031 + 0.012 * math.sin(minute / 5),
        )
        for minute in range(60)
    )


def healthy() -> Snapshot:
    """A healthy gateway; the requester may see everything."""
    return Snapshot(
        access=AccessView(granted=True, token_set=False),
        process=Process(
            version="0.1.0",
            python="3.11.2",
            at=NOW,
            started_at=NOW - 98_000,
            uptime_seconds=98_000,
            api_url="http://127.0.0.1:8080",
            asks_caller_token=False,
            ops_url="http://127.0.0.1:8081",
            checks=(Check("accepting", ok=True, detail="yes", required=True),),
            last_reload_successful=True,
            reload_fault=None,
            reloaded=True,
            log_lines_dropped=0,
        ),
        window_seconds=300,
        traffic=Traffic(
            requests=72_410,
            rate=241.4,
            by_status={"200": 71_902, "204": 31, "404": 477},
            failed={},
            failed_share=0.0,
            p50_seconds=0.00058,
            p99_seconds=0.034,
            hits=66_000,
            hits_p99_seconds=0.0021,
            connections_refused=0,
        ),
        tiers=(
            Tier(
                name="local", asked=1_810_250, hits=602_113, negatives=841_007, stale=10_400,
                misses=356_730, errors=0, hit_ratio=0.797,
            ),
            Tier(
                name="shared", asked=367_130, hits=101_940, negatives=146_200, stale=4_090,
                misses=114_900, errors=0, hit_ratio=0.676,
            ),
        ),
        cached_ratio=0.934,
        upstream=UpstreamView(
            url="https://api.music.apple.com",
            calls=6_630,
            rate=22.1,
            by_status={"200": 6_598, "404": 21, "429": 11},
            failed_share=0.0,
            p50_seconds=0.11,
            p99_seconds=0.48,
            retries=11,
            quarantined=3,
            in_flight=3,
            limit=64,
            max_limit=64,
            batch_size=100,
            max_batch_size=100,
        ),
        breakers=(
            BreakerView(target="apple", state="closed", for_seconds=98_000),
            BreakerView(target="redis", state="closed", for_seconds=9_132),
        ),
        redis=RedisView(
            address="redis://cache.internal:6379/0",
            answering=True,
            answering_for_seconds=9_132,
            subscribed=True,
            subscribed_for_seconds=9_131,
            undelivered_writes=0,
            errors={},
            reason=None,
        ),
        token=TokenView(key_id="SANDBOXKEY", expires_at=NOW + 30_020, expires_in_seconds=30_020),
        local=LocalView(
            entries=121_408,
            max_entries=200_000,
            bytes=41_600_000,
            max_bytes=134_217_728,
            evictions=0,
            trust_seconds=1.0,
        ),
        visibility=VisibilityView(checks=3_120_000, stale=0, stale_lately=0),
        course=course(),
        recent_errors=ERRORS[2:],
        settings=SETTINGS,
    )  # fmt: skip


def changed(block: str, **fields: Any) -> Snapshot:
    """A healthy gateway, but for some fields of one block."""
    good = healthy()
    return replace(good, **{block: replace(getattr(good, block), **fields)})


def without_apple() -> Snapshot:
    """Apple fails: the breaker is open."""
    good = healthy()
    traffic = replace(
        good.traffic,
        by_status={"200": 61_300, "503": 11_110},
        failed={"apple": 11_110},
        failed_share=0.1534,
        p99_seconds=1.4,
    )
    upstream = replace(
        good.upstream,
        calls=212,
        rate=0.7,
        by_status={"200": 30, "500": 102, "timeout": 80},
        failed_share=0.858,
        p99_seconds=3.0,
        limit=12,
        in_flight=0,
    )
    breakers = (BreakerView(target="apple", state="open", for_seconds=143), good.breakers[1])
    points = tuple(
        replace(point, failures=38.0, calls=0.4) if point.ago_seconds < 200 else point
        for point in good.course
    )
    return replace(
        good, traffic=traffic, upstream=upstream, breakers=breakers, course=points, recent_errors=ERRORS
    )


def without_redis() -> Snapshot:
    """Redis does not answer."""
    good = healthy()
    assert good.redis is not None
    redis = replace(
        good.redis,
        answering=False,
        answering_for_seconds=12.4,
        subscribed=False,
        subscribed_for_seconds=13.0,
        undelivered_writes=4,
        errors={"connection": 31, "timeout": 2, "unavailable": 702},
    )
    breakers = (good.breakers[0], BreakerView(target="redis", state="open", for_seconds=12.4))
    return replace(good, redis=redis, breakers=breakers, cached_ratio=0.8)


def with_expired_token() -> Snapshot:
    """The developer token has expired."""
    good = healthy()
    token = replace(good.token, expires_at=NOW - 200, expires_in_seconds=-200)
    upstream = replace(good.upstream, by_status={"401": 640}, calls=640)
    return replace(good, token=token, upstream=upstream)


def just_started() -> Snapshot:
    """A gateway without traffic and without Redis; the requester may see neither settings nor errors."""
    good = healthy()
    return replace(
        good,
        access=AccessView(granted=False, token_set=True),
        process=replace(good.process, uptime_seconds=2.0),
        window_seconds=2.0,
        traffic=Traffic(
            requests=0, rate=0.0, by_status={}, failed={}, failed_share=None,
            p50_seconds=None, p99_seconds=None, hits=0, hits_p99_seconds=None,
            connections_refused=0,
        ),
        tiers=tuple(
            Tier(name=name, asked=0, hits=0, negatives=0, stale=0, misses=0, errors=0, hit_ratio=None)
            for name in ("local", "shared")
        ),
        cached_ratio=None,
        upstream=replace(
            good.upstream, calls=0, rate=0.0, by_status={}, failed_share=None,
            p50_seconds=None, p99_seconds=None, retries=0, quarantined=0, in_flight=0,
        ),
        breakers=good.breakers[:1],
        redis=None,
        local=replace(good.local, entries=0, bytes=0),
        course=(),
        recent_errors=None,
        settings=None,
    )  # fmt: skip
