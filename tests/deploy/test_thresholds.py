"""The alerts compare with the thresholds of the status page."""

import re

import pytest

from gateway.ops.status.diagnosis import RULES
from tests.deploy.files import PROMETHEUS, alerts

EXPRESSIONS = {alert["alert"]: alert["expr"] for alert in alerts()}
SEEN_BY_PROMETHEUS_ALONE = {"RatingsGatewayAbsent", "RatingsGatewayTargetDown"}
SAME_FINDING = {"RatingsGatewayHitLatencyBurnFast": "RatingsGatewayHitLatencyBurnSlow"}
"""Alerts whose condition is a finding under the name of another alert."""
NUMBER = r"[\d.]+(?: \* [\d.]+)?"
THRESHOLDS = sorted({(rule.alert, rule.threshold) for rule in RULES if rule.alert and rule.threshold})


def compared(expression: str) -> set[float]:
    """The numbers that an expression compares with; `14.4 * 0.001` is one."""
    found = re.findall(rf"[<>] ({NUMBER})", expression)
    return {round(eval(number), 9) for number in found}


def test_every_alert_of_a_finding_exists():
    assert {rule.alert for rule in RULES} - {None} <= EXPRESSIONS.keys()


def test_every_alert_that_one_gateway_can_see_has_a_finding():
    found = {rule.alert for rule in RULES}
    seen = EXPRESSIONS.keys() - SEEN_BY_PROMETHEUS_ALONE
    assert [alert for alert in sorted(seen) if SAME_FINDING.get(alert, alert) not in found] == []


@pytest.mark.parametrize(("alert", "threshold"), THRESHOLDS)
def test_the_alert_has_the_threshold_of_the_finding(alert, threshold):
    if alert == "RatingsGatewayHitLatencyBurnSlow":
        # Compared where hits are counted as slow.
        recording = (PROMETHEUS / "recording.yaml").read_text(encoding="utf-8")
        assert set(re.findall(r'cache="hit", le="([\d.]+)"', recording)) == {f"{threshold}"}
    else:
        assert round(threshold, 9) in compared(EXPRESSIONS[alert])
