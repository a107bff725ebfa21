"""What commands print, and the two ways in which they give up."""

import os
import sys
from collections.abc import Sequence

BAD_CONFIGURATION = 78
"""`EX_CONFIG` of sysexits.h."""


class WrongUsage(Exception):
    """The command was not asked in a way that it understands; says what it wants."""


class Failure(Exception):
    """The command could not do it; says what to do next."""


def say(text: str) -> None:
    """A result, to stdout."""
    sys.stdout.write(f"{text}\n")


def report(text: str) -> None:
    """Progress or a fault, to stderr."""
    sys.stderr.write(f"{text}\n")


def coloured() -> bool:
    """Whether stdout takes colours: a terminal does, unless somebody wants none (NO_COLOR)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def say_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows under heads where stdout is a terminal; elsewhere one line a row, cells between tabs."""
    if not sys.stdout.isatty():
        for row in rows:
            say("\t".join(row))
        return
    from rich import box  # noqa: PLC0415  # most commands print no table
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=box.SIMPLE, pad_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)
