"""The documents keep up with the code."""

import re
from pathlib import Path

from gateway.settings import SETTINGS
from gateway.telemetry.metrics import Metrics

ROOT = Path(__file__).parent.parent
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()


def test_every_metric_is_explained_and_every_explained_metric_exists():
    families = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in Metrics().registry.collect()
        if family.name.startswith("gateway_")
    }
    table = OPERATIONS.partition("## Metrics")[2].partition("## Log")[0]
    explained = {
        f"gateway_{name}"
        for row in re.findall(r"^\| (`[^|]*`) \|", table, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    assert explained == families


def test_every_setting_that_is_explained_exists():
    known = {setting.name for setting in SETTINGS}
    table = OPERATIONS.partition("## Settings")[2].partition("## Metrics")[0]
    explained = {
        name
        for row in re.findall(r"^\| (`[^|]*`) \|", table, re.MULTILINE)
        for name in re.findall(r"`([\w.]+)`", row)
    }
    assert explained
    assert explained <= known


def test_files_that_it_names_exist():
    named = re.findall(r"`((?:config|deploy|docs|gateway|tests)/[\w./-]*\w)`", OPERATIONS)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []
