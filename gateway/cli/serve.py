"""`serve`: the gateway, until it is told to stop."""

import gc
import os
from argparse import Namespace
from pathlib import Path

import uvloop

from gateway.cli.config import with_settings
from gateway.cli.console import Failure, coloured
from gateway.reload import digest
from gateway.server import Reading, serve
from gateway.settings import Settings, load
from gateway.telemetry import logs

COLLECTION_THRESHOLDS = (50_000, 20, 50)
"""For the garbage collector: ten thousand ids bring as many objects, and at Python's own thresholds
collecting while they come stands in everybody's way for 40 ms."""


def run(arguments: Namespace) -> int:
    gc.freeze()
    gc.set_threshold(*COLLECTION_THRESHOLDS)

    def start(settings: Settings) -> int:
        logs.configure(level=settings.log.level, format_=settings.log.format, coloured=coloured())
        try:
            uvloop.run(serve(settings, _reading(arguments.config, settings)))
        except OSError as error:
            raise Failure(
                f"{error.strerror or error}. Is another gateway running on these addresses?"
            ) from None
        return 0

    return with_settings(arguments, start)


def _reading(config: Path | None, settings: Settings) -> Reading:
    named = config or os.environ.get("GATEWAY_CONFIG")
    files = [*settings.secret_files.values(), *([Path(named)] if named else [])]
    return Reading(lambda: load(config, os.environ), files, digest(files))
