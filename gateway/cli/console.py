"""What commands print, and the exceptions that end them."""

import os
import sys
from collections.abc import Sequence

BAD_CONFIGURATION = 78
"""`EX_CONFIG` of sysexits.h."""


class WrongUsage(Exception):
    """The command line is invalid; the message says what is expected. Exit status 2."""


class CommandFailed(Exception):
    """The command failed; the message says what to do next. Exit status 1."""


def say(text: str) -> None:
    """Print a result to stdout."""
    sys.stdout.write(f"{text}\n")


def report(text: str) -> None:
    """Print progress or a fault to stderr."""
    sys.stderr.write(f"{text}\n")


def coloured() -> bool:
    """Whether stdout is a terminal that accepts colours (see NO_COLOR)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def say_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on a terminal; elsewhere one line per row, cells separated by tabs."""
    if not sys.stdout.isatty():
        for row in rows:
            say("\t".join(row))
        return
    from rich import box  # noqa: PLC0415 - most commands print no table
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=box.SIMPLE, pad_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)
