"""What commands print, and the exceptions that end them."""

import errno
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

BAD_CONFIGURATION = 78
"""`EX_CONFIG` of sysexits.h."""


class WrongUsage(Exception):
    """The command line is invalid; the message says what is expected. Exit status 2."""


class CommandFailed(Exception):
    """The command failed; the message says what to do next. Exit status 1."""


class OutputLost(Exception):
    """Stdout cannot be written; the message says why. Exit status 1."""


def cannot_listen(error: OSError, address: str) -> str:
    """Why a command cannot listen on `address`, and which of its options to change."""
    match error.errno:
        case errno.EADDRINUSE:
            fault = "the address is in use. Try another --port"
        case errno.EADDRNOTAVAIL:
            fault = "no network interface has this address. Try another --host"
        case errno.EACCES:
            fault = "this user may not use this port. Try a --port above 1023"
        case _:
            fault = f"{error.strerror or error}. Try another --host or --port"
    return f"cannot listen on {address}: {fault}."


def say(text: str) -> None:
    """Print a result to stdout."""
    with writing():
        sys.stdout.write(f"{text}\n")


def flush() -> None:
    """Write what stdout buffers."""
    with writing():
        sys.stdout.flush()


@contextmanager
def writing() -> Iterator[None]:
    """Turn an error of stdout into `OutputLost`, except for a pipe without a reader (`… | head`)."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputLost(f"the output cannot be written: {error.strerror or error}") from None


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
    with writing():
        Console().print(table)
