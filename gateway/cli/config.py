"""`config`: show the effective settings. Also loads settings for the other commands."""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable

from gateway.cli.console import BAD_CONFIGURATION, report, say_table
from gateway.cli.parser import takes_config
from gateway.settings import BadSettings, Settings, load

DESCRIPTION = "Secrets are masked. If stdout is not a terminal: name, value and source, separated by tabs."
EXAMPLES = """
    ratings-gateway config
    ratings-gateway config --config config/gateway.toml | grep redis
"""


def arguments(parser: ArgumentParser) -> None:
    takes_config(parser)


def run(arguments: Namespace) -> int:
    return with_settings(arguments, _show)


def with_settings(arguments: Namespace, use: Callable[[Settings], int]) -> int:
    """Call `use` with the settings. If they are invalid, report every fault and return 78."""
    try:
        settings = load(arguments.config, os.environ)
    except BadSettings as error:
        report_faults(error)
        return BAD_CONFIGURATION
    return use(settings)


def report_faults(error: BadSettings) -> None:
    """Print every fault as a paragraph of its own to stderr."""
    number = len(error.faults)
    report(f"The configuration has {number} fault{'s'[: number > 1]}:")
    for fault in error.faults:
        report(f"\n  {fault.setting}\n    from      {fault.source}\n    fault     {fault.problem}")
        report(f"    accepted  {fault.accepted}")
        if fault.variable:
            report(f"    set       {fault.variable}")
    if error.warnings:
        report("")
    report_warnings(error.warnings)


def report_warnings(warnings: tuple[str, ...]) -> None:
    """Print warnings about the environment to stderr."""
    for warning in warnings:
        report(f"warning: {warning}")


def _show(settings: Settings) -> int:
    report_warnings(settings.warnings)
    shown = settings.masked()
    say_table(("setting", "value", "from"), [(name, shown[name], settings.sources[name]) for name in shown])
    return 0
