"""Readiness checks. Only the gateway's own state decides: a sidecar that is not ready takes its pod down."""

from collections.abc import Sequence
from typing import Protocol

import msgspec


class Check(msgspec.Struct, frozen=True):
    """Result of one check; `required` ones decide readiness, others are only reported."""

    name: str
    ok: bool
    detail: str
    required: bool


class Checks(Protocol):
    """Returns the checks now."""

    def __call__(self, *, granted: bool) -> Sequence[Check]:
        """`granted`: the requester may see everything, addresses and users' names in errors included."""
        ...


def ready(checks: Sequence[Check]) -> bool:
    """Whether requests should be sent here."""
    return all(check.ok for check in checks if check.required)


def verbose(checks: Sequence[Check]) -> str:
    """Render the checks as lines."""
    lines = [
        f"[{'+' if check.ok else '-'}] {check.name}: {check.detail}"
        + ("" if check.required else " (reported only)")
        for check in checks
    ]
    return "\n".join([*lines, "ready" if ready(checks) else "not ready", ""])
