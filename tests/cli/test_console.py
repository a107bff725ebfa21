"""When output is coloured, and why a command cannot listen."""

import errno
import sys
from types import SimpleNamespace

import pytest

from gateway.cli.console import cannot_listen, coloured


@pytest.mark.parametrize(
    ("terminal", "no_color", "expected"),
    [(True, "", True), (True, "1", False), (False, "", False)],
)
def test_output_is_coloured_on_a_terminal_without_no_color(monkeypatch, terminal, no_color, expected):
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: terminal))
    monkeypatch.setenv("NO_COLOR", no_color)
    assert coloured() is expected


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EADDRINUSE, "the address is in use. Try another --port."),
        (errno.EACCES, "this user may not use this port. Try a --port above 1023."),
        (errno.ENOBUFS, "No buffer space. Try another --host or --port."),
    ],
)
def test_an_address_that_cannot_be_used_is_named_with_the_option_to_change(number, said):
    assert cannot_listen(OSError(number, "No buffer space"), "h:1") == f"cannot listen on h:1: {said}"
