"""`sandbox`: the stand-in for Apple's ratings API, until it is told to stop."""

import asyncio
import signal
import sys
from argparse import Namespace

from gateway.cli.console import Failure
from gateway.sandbox import standalone


def run(arguments: Namespace) -> int:
    try:
        asyncio.run(_serve(arguments))
    except (OSError, ValueError) as error:
        raise Failure(f"{error}. Another --port, or another --key-file, may help.") from None
    return 0


async def _serve(arguments: Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await standalone.run(
        stop=stop,
        out=sys.stdout,
        err=sys.stderr,
        host=arguments.host,
        port=arguments.port,
        key_file=arguments.key_file,
    )
