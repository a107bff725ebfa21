"""`serve`: run the gateway until a signal."""

import gc
import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import NoReturn

import uvloop

from gateway.cli.config import with_settings
from gateway.cli.console import CommandFailed, coloured
from gateway.cli.parser import takes_config
from gateway.reload import digest
from gateway.server import SettingsReading, serve
from gateway.settings import Settings, load
from gateway.telemetry import logs

DESCRIPTION = (
    "Runs until SIGTERM or SIGINT, then finishes requests in flight; a second signal quits at once. "
    "SIGHUP reloads secrets."
)
EXAMPLES = """
    ratings-gateway serve --config /etc/ratings-gateway.toml
    GATEWAY_CACHE__REDIS_URL=redis://redis:6379 ratings-gateway serve
"""
COLLECTION_THRESHOLDS = (50_000, 20, 50)
"""Of the garbage collector. A request of 10,000 ids creates as many objects; at Python's own thresholds,
collecting while they arrive delays every other request by 40 ms."""


def arguments(parser: ArgumentParser) -> None:
    takes_config(parser)


def run(arguments: Namespace) -> int:
    gc.freeze()
    gc.set_threshold(*COLLECTION_THRESHOLDS)

    def start(settings: Settings) -> int:
        logs.configure(level=settings.log.level, format_=settings.log.format, coloured=coloured())
        for warning in settings.warnings:
            logs.logger().warning("setting_ignored", message=warning)
        try:
            uvloop.run(_serve(settings, _reading(arguments.config, settings)))
        except OSError as error:
            raise CommandFailed(
                f"{error.strerror or error}. Is another gateway running on these addresses?"
            ) from None
        return 0

    return with_settings(arguments, start)


async def _serve(settings: Settings, reading: SettingsReading) -> NoReturn:
    """Serve, then end the process. Python would wait for threads, and name resolution cannot be cancelled."""
    await serve(settings, reading)
    logs.close()
    os._exit(0)


def _reading(config: Path | None, settings: Settings) -> SettingsReading:
    named = config or os.environ.get("GATEWAY_CONFIG")
    files = [*settings.secret_files.values(), *([Path(named)] if named else [])]
    return SettingsReading(lambda: load(config, os.environ), files, digest(files))
