"""The commands. Results go to stdout, progress and faults to stderr.

Exit status: 0 success, 1 failure, 2 wrong usage, 78 bad configuration.
"""

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from gateway.cli.console import CommandFailed, WrongUsage, report
from gateway.cli.parser import parse


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; `argv` excludes the program's name. Raises SystemExit(2) if argparse rejects it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # Help and names contain letters that an old locale lacks. The escapes are valid JSON, too.
            stream.reconfigure(errors="backslashreplace")
    parsed = parse(argv)
    try:
        status = parsed.run(parsed.arguments)
        sys.stdout.flush()
    except WrongUsage as error:
        report(f"ratings-gateway {parsed.name}: {error}")
        return 2
    except CommandFailed as error:
        report(f"ratings-gateway {parsed.name}: {error}")
        return 1
    except KeyboardInterrupt:
        report("interrupted")
        return 1
    except BrokenPipeError:
        # The reader of a pipe (`… | head`) is gone. Without this, Python's last flush prints a traceback.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
        return 1
    return status
