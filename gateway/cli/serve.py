"""`serve`: the gateway, until it is told to stop."""

from argparse import Namespace

import uvloop

from gateway.cli.config import with_settings
from gateway.cli.console import Failure
from gateway.serving import serve
from gateway.settings import Settings
from gateway.telemetry import logs


def run(arguments: Namespace) -> int:
    def start(settings: Settings) -> int:
        logs.configure(level=settings.log.level, format_=settings.log.format)
        try:
            uvloop.run(serve(settings))
        except OSError as error:
            raise Failure(
                f"{error.strerror or error}. Is another gateway running on these addresses?"
            ) from None
        return 0

    return with_settings(arguments, start)
