"""The files of deploy/, parsed, and what may be named in them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from gateway.telemetry.metrics import Metrics

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
RULES = (PROMETHEUS / "recording.yaml", PROMETHEUS / "alerts.yaml")
RULE_TESTS = sorted((PROMETHEUS / "tests").glob("*.yaml"))
DASHBOARD = DEPLOY / "grafana" / "ratings-gateway.json"
RUNBOOK = DEPLOY / "runbook.md"

SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}
OURS = re.compile(r"(?<![\w:])(?:gateway_\w+|\w+:gateway_[\w:]+)")
SELECTOR = re.compile(r"(?<![\w:])(gateway_\w+)\{([^}]*)\}")
TARGET_LABELS = {"job", "instance"}


class Series(NamedTuple):
    """A series that a gateway exposes, and the labels that distinguish its children."""

    name: str
    labels: frozenset[str]


def document(path: Path) -> Any:
    """A YAML file with one document."""
    return msgspec.yaml.decode(path.read_bytes())


def documents(text: str) -> list[Any]:
    return [msgspec.yaml.decode(part) for part in re.split(r"(?m)^---$", text) if part.strip()]


def rules(path: Path) -> list[dict[str, Any]]:
    return [rule for group in document(path)["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for path in RULES for rule in rules(path) if "alert" in rule]


def recorded() -> set[str]:
    return {rule["record"] for path in RULES for rule in rules(path) if "record" in rule}


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = msgspec.json.decode(DASHBOARD.read_bytes())["panels"]
    return found


def dashboard_expressions() -> Iterator[str]:
    for panel in panels():
        for target in panel.get("targets", ()):
            yield target["expr"]


def rule_expressions() -> Iterator[str]:
    for path in RULES:
        for rule in rules(path):
            yield rule["expr"]


def exposed() -> dict[str, Series]:
    """Every series of a gateway by name, from the registry that it is counted in."""
    registry = Metrics().registry
    return {
        family.name + suffix: Series(family.name + suffix, _labels(registry, family.name, family.type))
        for family in registry.collect()
        for suffix in SUFFIXES[family.type]
    }


def _labels(registry: Any, family: str, kind: str) -> frozenset[str]:
    collector = registry._names_to_collectors.get(family)  # noqa: SLF001 - no public way to the labels
    own: Any = getattr(collector, "_labelnames", None) or getattr(collector, "label_names", ())
    return frozenset(own) | TARGET_LABELS | ({"le"} if kind == "histogram" else set())
