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
    words = sys.argv[1:] if argv is None else argv
    _replace_closed_streams(os.O_WRONLY if words[:1] == ["serve"] else os.O_RDONLY)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # Help and names contain letters that an old locale lacks. The escapes are valid JSON, too.
            stream.reconfigure(errors="backslashreplace")
    parsed = parse(words)
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


def _replace_closed_streams(stdout: int) -> None:
    """Open /dev/null for streams that were closed before the start (`>&-`), stdout with the flags `stdout`.

    Otherwise the next files and connections get their numbers. `serve` then runs without a log; a result of
    another command must not vanish, and writing it to a file that is open for reading fails.
    """
    if sys.stdin is None:
        os.open(os.devnull, os.O_RDONLY)
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, stdout), "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")


def _discard(*streams: TextIO) -> None:
    """Send what streams still buffer nowhere, else Python's last flush prints a traceback."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nowhere, stream.fileno())
