"""`ratings-gateway` and `python -m gateway`: handles signals, then imports and runs the command.

Imports take most of a start. Meanwhile the kernel would ignore SIGTERM for good if this is process 1 of a
container, and SIGHUP would end the process.
"""

import os
import signal
import sys
from types import FrameType


def main() -> int:
    """Run the command of the process' arguments; the exit status."""
    if sys.argv[1:2] == ["serve"]:
        _handle_signals()
    from gateway.cli import main as run_command  # noqa: PLC0415 - signals first

    return run_command()


def _handle_signals() -> None:
    """Handle signals until `gateway.server.serve` does: there is nothing to drain or to reload yet."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    # Files that change during the start are noticed without it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _exit(_: int, __: FrameType | None) -> None:
    # Not by an exception, which an import or a callback may swallow.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
