"""The Grafana dashboard: every number of the gateway is on it, and it asks for nothing else."""

import subprocess
from itertools import combinations

import msgspec
import pytest

from tests.deploy.files import DASHBOARD, OURS, SELECTOR, dashboard_expressions, exposed, panels, recorded


def test_it_asks_only_for_what_a_gateway_exposes_or_a_rule_records():
    known = exposed().keys() | recorded()
    assert {name for expression in dashboard_expressions() for name in OURS.findall(expression)} <= known


def test_every_metric_of_the_gateway_is_on_it():
    shown = {name for expression in dashboard_expressions() for name in OURS.findall(expression)}
    ours = {name for name in exposed() if name.startswith("gateway_")}
    histograms = {name.removesuffix("_sum") for name in ours if name.endswith("_sum")}
    for name in histograms:
        parts = {name + suffix for suffix in ("_bucket", "_count", "_sum")}
        assert shown & parts, name
        ours -= parts
    assert ours <= shown


def test_its_selectors_use_labels_that_the_series_have():
    series = exposed()
    for expression in dashboard_expressions():
        for name, matchers in SELECTOR.findall(expression):
            used = {matcher.split("=")[0].strip(" !") for matcher in matchers.split(", ")}
            assert used <= series[name].labels, expression


def test_rows_follow_the_way_of_a_request():
    rows = [panel["title"] for panel in panels() if panel["type"] == "row"]
    assert rows == [
        "Overview",
        "Traffic and errors",
        "Cache by tier",
        "Upstream",
        "Redis and invalidations",
        "Token",
        "Shadow checks",
        "Process",
        "Saturation",
    ]


def test_the_overview_is_single_numbers_that_say_what_they_mean():
    first, second = (index for index, panel in enumerate(panels()) if panel["type"] == "row" and index < 12)
    overview = panels()[first + 1 : second]
    assert {panel["type"] for panel in overview} == {"stat"}
    assert all(panel["description"] for panel in overview)


def test_it_links_to_the_runbook():
    document = msgspec.json.decode(DASHBOARD.read_bytes())
    (variable,) = (one for one in document["templating"]["list"] if one["name"] == "runbook")
    assert variable["query"].endswith("/runbook.md")
    assert "${runbook}" in [link["url"] for link in document["links"]]


def test_panels_have_ids_of_their_own_and_do_not_overlap():
    found = panels()
    assert len({panel["id"] for panel in found}) == len(found)
    for one, other in combinations((panel["gridPos"] for panel in found), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above


def test_every_query_honours_the_chosen_jobs_or_redis_and_the_data_source():
    for panel in panels():
        for target in panel.get("targets", ()):
            chosen = 'instance=~"$redis"' if "redis_" in target["expr"] else 'job=~"$job"'
            assert chosen in target["expr"], panel["title"]
            assert target["datasource"]["uid"] == "${datasource}", panel["title"]


@pytest.mark.needs("promtool")
def test_prometheus_understands_every_query(tmp_path):
    expressions = [
        expression.replace("$__rate_interval", "5m")
        .replace("$job", ".*")
        .replace("$instance", ".*")
        .replace("$redis", ".*")
        for expression in dashboard_expressions()
    ]
    queries = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(expressions)]
    path = tmp_path / "queries.yaml"
    path.write_bytes(msgspec.yaml.encode({"groups": [{"name": "dashboard", "rules": queries}]}))
    done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_is_a_file_that_can_be_read_in_a_diff():
    assert max(map(len, DASHBOARD.read_text().splitlines())) < 320
