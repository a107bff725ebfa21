"""The commands. Results go to stdout, progress and faults to stderr; each imports what it needs when it runs.

Exit status: 0 done, 1 failed, 2 wrong usage, 78 bad configuration.
"""

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from gateway.cli.console import Failure, WrongUsage, report
from gateway.cli.parser import parse


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; `argv` without the program's name. Raises SystemExit(2) where argparse refuses it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # Help and names have letters that an old locale lacks; JSON stays JSON this way.
            stream.reconfigure(errors="backslashreplace")
    arguments = parse(argv)
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except WrongUsage as error:
        report(f"ratings-gateway {arguments.command}: {error}")
        return 2
    except Failure as error:
        report(f"ratings-gateway {arguments.command}: {error}")
        return 1
    except KeyboardInterrupt:
        report("interrupted")
        return 1
    except BrokenPipeError:
        # The reader of a pipe (`… | head`) has seen enough; without this, Python's last flush complains.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
        return 1
    return status
