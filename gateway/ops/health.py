"""Probes. Readiness is the gateway's own: a sidecar that failed for Redis or Apple takes its pod down."""

from collections.abc import Callable, Sequence

import msgspec


class Check(msgspec.Struct, frozen=True):
    """One finding: `required` ones decide readiness, the others are reported."""

    name: str
    ok: bool
    detail: str
    required: bool


Checks = Callable[[], Sequence[Check]]


def ready(checks: Sequence[Check]) -> bool:
    """Whether requests should be sent here."""
    return all(check.ok for check in checks if check.required)


def verbose(checks: Sequence[Check]) -> str:
    """The checks as lines for people."""
    lines = [
        f"[{'+' if check.ok else '-'}] {check.name}: {check.detail}"
        + ("" if check.required else " (reported only)")
        for check in checks
    ]
    return "\n".join([*lines, "ready" if ready(checks) else "not ready", ""])
