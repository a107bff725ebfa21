"""Recording rules and alerts: sound, tested both ways, and about series that exist."""

import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.deploy.files import (
    OURS,
    PROMETHEUS,
    ROOT,
    RULE_TESTS,
    RULES,
    SELECTOR,
    alerts,
    document,
    documents,
    exposed,
    recorded,
    rule_expressions,
    rules,
)

PLACEHOLDER = "https://runbooks.example.com/ratings-gateway"


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.needs("promtool")
def test_prometheus_accepts_the_rules():
    promtool("check", "rules", *RULES)


@pytest.mark.needs("promtool")
@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_only_then(path):
    promtool("test", "rules", path)


def test_every_alert_is_seen_firing_and_seen_silent():
    firing: Counter[str] = Counter()
    silent: Counter[str] = Counter()
    for path in RULE_TESTS:
        for case in document(path)["tests"]:
            for expected in case["alert_rule_test"]:
                (firing if expected["exp_alerts"] else silent)[expected["alertname"]] += 1

    names = {alert["alert"] for alert in alerts()}
    assert set(firing) == names
    assert set(silent) == names


def test_every_alert_says_how_urgent_it_is_what_is_wrong_and_where_to_read_on():
    for alert in alerts():
        assert alert["labels"]["severity"] in {"critical", "warning"}, alert["alert"]
        assert "{{ $labels.job }}" in alert["annotations"]["summary"], alert["alert"]
        assert alert["annotations"]["runbook_url"] == f"{PLACEHOLDER}/runbook.md#{alert['alert'].lower()}"


def test_rules_read_only_what_a_gateway_exposes_or_another_rule_records():
    known = exposed().keys() | recorded()
    assert {name for expression in rule_expressions() for name in OURS.findall(expression)} <= known


def test_selectors_of_rules_use_labels_that_the_series_have():
    series = exposed()
    for expression in rule_expressions():
        for name, matchers in SELECTOR.findall(expression):
            used = {matcher.split("=")[0].strip(" !") for matcher in matchers.split(",")}
            assert used <= series[name].labels, expression


def test_the_objective_for_hits_is_a_bound_of_the_histogram():
    bounds = {
        matcher.split('"')[1]
        for expression in rule_expressions()
        for _, matchers in SELECTOR.findall(expression)
        for matcher in matchers.split(",")
        if matcher.strip().startswith("le=")
    }
    assert bounds == {"0.025"}
    buckets = (
        (ROOT / "gateway/telemetry/metrics.py").read_text().split("REQUEST_SECONDS = (")[1].split(")")[0]
    )
    assert bounds <= set(buckets.split(", "))


def test_burn_rates_alert_only_above_a_floor_of_traffic():
    burning = [alert for alert in alerts() if "Burn" in alert["alert"]]
    assert len(burning) == 4
    for alert in burning:
        for window_pair in alert["expr"].split(") or ("):
            assert "> 0.1\n" in window_pair, alert["alert"]


def test_the_rules_are_printed_as_an_object_of_the_operator():
    printed = subprocess.run(
        [PROMETHEUS / "prometheus-rule", "https://docs.corp.example/gateway"], capture_output=True, check=True
    ).stdout.decode()
    (made,) = documents(printed)

    assert (made["apiVersion"], made["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    printed_rules = [rule for group in made["spec"]["groups"] for rule in group["rules"]]
    expected = [rule for path in RULES for rule in rules(path)]
    assert [rule["expr"] for rule in printed_rules] == [rule["expr"] for rule in expected]
    links = [rule["annotations"]["runbook_url"] for rule in printed_rules if "alert" in rule]
    assert links
    assert all(link.startswith("https://docs.corp.example/gateway/runbook.md#") for link in links)
