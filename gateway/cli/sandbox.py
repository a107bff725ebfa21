"""`sandbox`: run the stand-in for Apple's ratings API until a signal."""

import asyncio
import io
import signal
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from gateway.cli.console import CommandFailed, cannot_listen, flush, writing
from gateway.cli.parser import port
from gateway.sandbox import standalone

DESCRIPTION = "For integration tests of your own service. Prints the variables that point a gateway at it."
EXAMPLES = """
    ratings-gateway sandbox --port 9000
    ratings-gateway sandbox --key-file sandbox.p8 > sandbox.env
"""


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=port, default=0, help="port to listen on (default: a free one)")
    parser.add_argument(
        "--key-file", type=Path, metavar="FILE", help="keep the signing key in this file across restarts"
    )


def run(arguments: Namespace) -> int:
    try:
        asyncio.run(_serve(arguments))
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename is not None:
            raise CommandFailed(
                f"{error.filename} cannot be used: {error.strerror}. Try another --key-file."
            ) from None
        raise CommandFailed(cannot_listen(error, f"{arguments.host}:{arguments.port}")) from None
    except ValueError as error:
        raise CommandFailed(f"{error}. Try another --key-file.") from None
    return 0


class _GuardedStdout(io.StringIO):
    """Stdout, whose errors are not those of the address or the key file."""

    def write(self, text: str) -> int:
        with writing():
            return sys.stdout.write(text)

    def flush(self) -> None:
        flush()


async def _serve(arguments: Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await standalone.run(
        stop=stop,
        out=_GuardedStdout(),
        err=sys.stderr,
        host=arguments.host,
        port=arguments.port,
        key_file=arguments.key_file,
    )
