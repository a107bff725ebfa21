"""`serve`: run the gateway until a signal."""

import errno
import gc
import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import NoReturn

import uvloop

from gateway import descriptors
from gateway.cli.config import with_settings
from gateway.cli.console import CommandFailed, coloured
from gateway.cli.parser import takes_config
from gateway.reload import digest
from gateway.server import CannotListen, SettingsReading, serve
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
    descriptors.raise_limit()
    gc.freeze()
    gc.set_threshold(*COLLECTION_THRESHOLDS)

    def start(settings: Settings) -> int:
        logs.configure(level=settings.log.level, format_=settings.log.format, coloured=coloured())
        for warning in settings.warnings:
            logs.logger().warning("setting_ignored", message=warning)
        try:
            uvloop.run(_serve(settings, _reading(arguments.config, settings)))
        except CannotListen as error:
            raise CommandFailed(refusal(error)) from None
        except OSError as error:
            raise CommandFailed(str(error)) from None
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


def refusal(error: CannotListen) -> str:
    """Why a listener did not start, and what to do about it."""
    if error.socket_path is None:
        settings = f"{error.section}.host, {error.section}.port"
        cause = _address_fault(error)
    else:
        settings = "server.unix_socket"
        cause = _socket_fault(error, error.socket_path)
    return f"cannot listen on {error.address} ({settings}): {cause}."


def _address_fault(error: CannotListen) -> str:
    host, port = f"{error.section}.host", f"{error.section}.port"
    if error.is_unresolved:
        return f"the name has no address. Set {host} to an address of this machine"
    match error.errno:
        case errno.EADDRINUSE:
            return f"the address is in use. Is another gateway running? Stop it, or set another {port}"
        case errno.EADDRNOTAVAIL:
            return f"no network interface of this machine has this address. Set {host} to one that it has"
        case errno.EACCES:
            return f"this user may not use this port. Set {port} to 1024 or above"
    return f"{error.strerror}. Set another {host}"


def _socket_fault(error: CannotListen, path: Path) -> str:
    match error.errno:
        case errno.EADDRINUSE if path.is_socket():
            return "the socket is in use. Is another gateway running? Stop it, or set another path"
        case errno.EADDRINUSE:
            return "a file that is not a socket is in the way. Remove it, or set another path"
        case errno.ENOENT:
            return f"the directory {path.parent} does not exist. Create it, or set another path"
        case errno.EACCES | errno.EPERM:
            return f"this user may not create files in {path.parent}. Allow it, or set another path"
    return f"{error.strerror}. Set another path"
