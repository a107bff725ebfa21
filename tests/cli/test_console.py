"""When output is coloured."""

import sys
from types import SimpleNamespace

import pytest

from gateway.cli.console import coloured


@pytest.mark.parametrize(
    ("terminal", "no_color", "expected"),
    [(True, "", True), (True, "1", False), (False, "", False)],
)
def test_output_is_coloured_on_a_terminal_without_no_color(monkeypatch, terminal, no_color, expected):
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: terminal))
    monkeypatch.setenv("NO_COLOR", no_color)
    assert coloured() is expected
