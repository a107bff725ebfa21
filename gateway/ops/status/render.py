"""Renders a snapshot as a page: findings first, and a word beside every colour. Pure."""

import time
from collections.abc import Callable

import msgspec

from gateway.ops.explain_page import form
from gateway.ops.formatting import NOTHING, about, duration, latency, percent, rate
from gateway.ops.markup import Child, Html, el, join, with_code
from gateway.ops.page import facts, page, section
from gateway.ops.status.charts import Course, chart
from gateway.ops.status.diagnosis import diagnose
from gateway.ops.status.snapshot import Finding, Point, Severity, Snapshot
from gateway.ops.status.tables import (
    apple,
    cache,
    recent_errors,
    redis,
    settings,
    statuses,
    token,
)

SIGNS = {Severity.FAILING: "✖", Severity.DEGRADED: "▲", Severity.NOTE: "●"}
REFRESH_SECONDS = 15


def render(snapshot: Snapshot, *, refreshing: bool = False) -> str:
    """Render the page. `refreshing` only changes the text: the refresh itself is a header."""
    return page(
        "Status",
        el("h1", "Status"),
        _process(snapshot, refreshing=refreshing),
        _findings(snapshot, diagnose(snapshot)),
        section("Now", _now(snapshot), id_="now"),
        section("The last hour", _charts(snapshot), id_="hour"),
        el(
            "div",
            section("Apple", apple(snapshot), id_="apple"),
            el(
                "div",
                section("Redis", redis(snapshot), id_="redis"),
                section("Developer token", token(snapshot), id_="token"),
            ),
            class_="columns",
        ),
        section("Cache", cache(snapshot), id_="cache"),
        section("Recent errors", recent_errors(snapshot), id_="errors"),
        section("Explain one id", _explain(snapshot), id_="explain"),
        section("Settings", settings(snapshot), id_="settings"),
        here="/status",
    )


def as_json(snapshot: Snapshot) -> bytes:
    """The snapshot and its findings as JSON."""
    return msgspec.json.encode({"findings": diagnose(snapshot), **msgspec.to_builtins(snapshot)})


def _process(snapshot: Snapshot, *, refreshing: bool) -> Html:
    process = snapshot.process
    taken = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(process.at))
    toggle = (
        el("a", "stop refreshing", href="/status")
        if refreshing
        else el("a", f"refresh every {REFRESH_SECONDS} s", href="/status?refresh")
    )
    return el(
        "p",
        f"Version {process.version}, Python {process.python}, up ",
        el("b", duration(process.uptime_seconds)),
        ". API at ",
        el("code", process.api_url),
        f". Taken {taken}: ",
        toggle,
        ", ",
        el("a", "as JSON", href="/status?format=json"),
        ".",
        class_="lead",
    )


def _findings(snapshot: Snapshot, findings: list[Finding]) -> Html:
    listed = el("ol", [el("li", _finding(finding)) for finding in findings]) if findings else None
    if any(finding.severity is not Severity.NOTE for finding in findings):
        return section("What is wrong", listed, id_="findings")
    return section(
        "Nothing is wrong",
        el(
            "p",
            el("span", "✔", class_="sign", aria_hidden="true"),
            " Ready: ",
            _all_well(snapshot),
            class_="finding well",
        ),
        listed,
        id_="findings",
    )


def _all_well(snapshot: Snapshot) -> str:
    redis_part = "" if snapshot.redis is None else " Redis answers, and the invalidation subscription is up;"
    return f"the developer token is valid;{redis_part} calls to Apple are made."


def _finding(finding: Finding) -> Html:
    return el(
        "div",
        el(
            "p",
            el("span", SIGNS[finding.severity], class_="sign", aria_hidden="true"),
            " ",
            el("strong", finding.severity.capitalize(), class_="severity"),
            " ",
            finding.what,
        ),
        el("p", with_code(finding.advice), _runbook(finding.runbook), class_="advice"),
        class_=f"finding {finding.severity}",
    )


def _runbook(name: str | None) -> Child:
    if name is None:
        return None
    return join(" Runbook: ", el("a", name, href=f"/runbook#{name.lower()}"), ".")


def _now(snapshot: Snapshot) -> Html:
    traffic, upstream = snapshot.traffic, snapshot.upstream
    return join(
        el(
            "p",
            f"The last {about(snapshot.window_seconds)}. Durations are estimated from histogram buckets.",
            class_="aside",
        ),
        facts(
            ("Requests", rate(traffic.rate)),
            ("Fresh in the cache", percent(snapshot.cached_ratio)),
            ("Failed", percent(traffic.failed_share)),
            ("Duration, median", latency(traffic.p50_seconds)),
            ("Duration, 99 % within", latency(traffic.p99_seconds)),
            ("Hits, 99 % within", latency(traffic.hits_p99_seconds)),
            ("Calls to Apple", rate(upstream.rate)),
            ("Statuses", statuses(traffic.by_status)),
            class_="tiles",
        ),
    )


def _charts(snapshot: Snapshot) -> Html:
    points = snapshot.course

    def course(value: Callable[[Point], float | None]) -> Course:
        return [(point.ago_seconds, value(point)) for point in points]

    return el(
        "div",
        chart(
            "Fresh in the cache",
            [
                ("both tiers", course(lambda point: point.cached_ratio)),
                ("this process", course(lambda point: point.local_ratio)),
            ],
            percent,
            top=1.0,
        ),
        chart(
            "Requests and calls to Apple",
            [
                ("requests", course(lambda point: point.requests)),
                ("calls", course(lambda point: point.calls)),
            ],
            _rate,
        ),
        chart(
            "Duration of requests",
            [
                ("99 % within", course(lambda point: point.p99_seconds)),
                ("median", course(lambda point: point.p50_seconds)),
            ],
            latency,
        ),
        chart("Failed requests", [("failed", course(lambda point: point.failures))], _rate),
        class_="charts",
    )


def _rate(per_second: float | None) -> str:
    return NOTHING if per_second is None else rate(per_second)


def _explain(snapshot: Snapshot) -> Html:
    access = snapshot.access
    if not access.granted and not access.token_set:
        return el("p", "Only for requests from this host, unless ", el("code", "ops.token"), " is set.")
    return join(
        el("p", "Where the answer for one id of one user would come from now, and why. Nothing is fetched."),
        form(asks_ops_token=access.token_set),
    )
