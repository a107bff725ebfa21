"""The table of findings: their order, and the runbook sections that they name."""

import re
from pathlib import Path

from msgspec.structs import replace

from gateway.ops.status.diagnosis import RULES, diagnose
from gateway.ops.status.snapshot import Severity
from tests.ops import samples

RUNBOOK = Path(__file__).parents[3] / "deploy" / "runbook.md"


def test_findings_are_ordered_by_severity():
    broken = replace(samples.without_apple(), redis=samples.without_redis().redis)
    assert [finding.severity for finding in diagnose(broken)] == [
        Severity.FAILING,
        Severity.FAILING,
        Severity.DEGRADED,
        Severity.DEGRADED,
    ]


def test_of_one_severity_causes_precede_effects():
    first, second = diagnose(samples.without_apple())
    assert first.what.startswith("Calls to Apple are stopped for 2 min 23 s")
    assert second.what.startswith("11,110 of 72,410 requests failed")


def test_findings_name_runbook_sections_that_exist():
    sections = set(re.findall(r"^## (\w+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE))
    named = {rule.alert for rule in RULES} - {None}
    assert named
    assert named <= sections
