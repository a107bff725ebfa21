"""What rules and dashboard read, looked for in what a running gateway really exposes."""

import re

from gateway.sandbox import Sandbox
from tests.deploy.files import OURS, SUFFIXES, dashboard_expressions, recorded, rule_expressions
from tests.e2e.harness import gateway_on


async def test_every_series_that_is_read_is_exposed_by_a_running_gateway():
    async with Sandbox() as sandbox, gateway_on(sandbox) as caller:
        await caller.get("albums", ["1138988512"])
        scrape = (await caller.ask("GET", "/metrics")).body.decode()

    families = re.findall(r"(?m)^# TYPE (\w+) (counter|gauge|histogram)$", scrape)
    exposed = {name.removesuffix("_total") + suffix for name, kind in families for suffix in SUFFIXES[kind]}
    read = {
        name
        for expression in (*rule_expressions(), *dashboard_expressions())
        for name in OURS.findall(expression)
    }
    assert read - recorded() <= exposed


async def test_a_hit_is_counted_where_the_objectives_look_for_it():
    async with Sandbox() as sandbox, gateway_on(sandbox) as caller:
        for _ in range(2):
            await caller.get("albums", ["1138988512"])
        metrics = await caller.metrics()

    hits = {
        name: value
        for name, value in metrics.items()
        if name.startswith("gateway_http_request_duration_seconds_") and 'cache="hit"' in name
    }
    assert [
        value
        for name, value in hits.items()
        if name.startswith("gateway_http_request_duration_seconds_count")
    ] == [1]
    assert any('le="0.025"' in name for name in hits)
