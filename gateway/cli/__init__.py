"""The commands. Results go to stdout, progress and faults to stderr.

Exit status: 0 success, 1 failure, 2 wrong usage, 78 bad configuration.
"""

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import TextIO

from gateway.cli.console import CommandFailed, OutputLost, WrongUsage, flush, report
from gateway.cli.parser import Parsed, parse


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; `argv` excludes the program's name. Raises SystemExit(2) if argparse rejects it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # Help and names contain letters that an old locale lacks. The escapes are valid JSON, too.
            stream.reconfigure(errors="backslashreplace")
    parsed = parse(argv)
    try:
        status = _run(parsed)
        flush()
    except OutputLost as error:
        _discard(sys.stdout)
        report(f"ratings-gateway {parsed.name}: {error}")
        return 1
    except BrokenPipeError:
        _discard(sys.stdout, sys.stderr)
        return 1
    return status


def _run(parsed: Parsed) -> int:
    try:
        return parsed.run(parsed.arguments)
    except WrongUsage as error:
        report(f"ratings-gateway {parsed.name}: {error}")
        return 2
    except CommandFailed as error:
        report(f"ratings-gateway {parsed.name}: {error}")
        return 1
    except KeyboardInterrupt:
        report("interrupted")
        return 1


def _discard(*streams: TextIO) -> None:
    """Send what streams still buffer nowhere, else Python's last flush prints a traceback."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nowhere, stream.fileno())
