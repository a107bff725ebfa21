"""`config`: the settings in force. Also how every command that needs settings gets them."""

import os
from argparse import Namespace
from collections.abc import Callable

from gateway.cli.console import BAD_CONFIGURATION, report, say_table
from gateway.settings import BadSettings, Settings, load


def run(arguments: Namespace) -> int:
    return with_settings(arguments, _show)


def with_settings(arguments: Namespace, use: Callable[[Settings], int]) -> int:
    """What `use` makes of the settings; 78, after a report of every fault, where they are not sound."""
    try:
        settings = load(arguments.config, os.environ)
    except BadSettings as error:
        report_faults(error)
        return BAD_CONFIGURATION
    return use(settings)


def report_faults(error: BadSettings) -> None:
    """One paragraph a fault, to stderr."""
    number = len(error.faults)
    report(f"The configuration has {number} fault{'s'[: number > 1]}:")
    for fault in error.faults:
        report(f"\n  {fault.setting}\n    from      {fault.source}\n    fault     {fault.problem}")
        report(f"    accepted  {fault.accepted}")


def _show(settings: Settings) -> int:
    shown = settings.masked()
    say_table(("setting", "value", "from"), [(name, shown[name], settings.sources[name]) for name in shown])
    return 0
