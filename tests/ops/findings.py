"""What tests of the conditions share."""

from collections.abc import Iterable
from types import ModuleType

from gateway.ops.status.diagnosis import RULES, diagnose
from gateway.ops.status.snapshot import Snapshot

Case = tuple[Snapshot, str, str]
"""A snapshot, and the severity and first words of what is found in it."""


def assert_found(snapshot: Snapshot, severity: str, what: str) -> None:
    """There is one finding, and it has advice."""
    (finding,) = diagnose(snapshot)
    assert finding.severity == severity
    assert finding.what.startswith(what)
    assert finding.advice


def untested(module: ModuleType, cases: Iterable[Case]) -> list[str]:
    """The conditions of `module` that are wrong in none of the snapshots."""
    snapshots = [snapshot for snapshot, _, _ in cases]
    return [
        rule.check.__name__
        for rule in RULES
        if rule.check.__module__ == module.__name__
        and not any(rule.check(snapshot, rule.threshold) for snapshot in snapshots)
    ]
