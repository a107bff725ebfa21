"""`check`: report everything that would keep the gateway from starting or serving."""

import time
from argparse import ArgumentParser, Namespace

from gateway.apple.developer_token import mint
from gateway.cli import connect
from gateway.cli.config import report_warnings, with_settings
from gateway.cli.console import BAD_CONFIGURATION, CommandFailed, report, say
from gateway.cli.parser import takes_config
from gateway.credentials import signing_key
from gateway.settings import Settings

DESCRIPTION = "Loads everything and opens no listener. All faults are listed at once."
EXAMPLES = """
    ratings-gateway check --config config/gateway.toml
    ratings-gateway check --connect
"""


def arguments(parser: ArgumentParser) -> None:
    takes_config(parser)
    parser.add_argument(
        "--connect",
        action="store_true",
        help="also run every kind of Redis command, and check that Apple accepts the developer token",
    )


def run(arguments: Namespace) -> int:
    def check(settings: Settings) -> int:
        report_warnings(settings.warnings)
        return _credential(settings) or (_connections(settings) if arguments.connect else 0)

    return with_settings(arguments, check)


def _credential(settings: Settings) -> int:
    try:
        mint(signing_key(settings, origin=settings.apple.origin), time.time())
    except ValueError as error:
        report(f"A developer token cannot be signed: {error}")
        return BAD_CONFIGURATION
    given = sum(source != "default" for source in settings.sources.values())
    say(f"settings  ok  {given} of {len(settings.sources)} set, the others at their defaults")
    return 0


def _connections(settings: Settings) -> int:
    checks = {"redis": connect.redis, "apple": connect.apple}
    failed = 0
    for name, connects in checks.items():
        try:
            say(f"{name:<8}  ok  {connects(settings)}")
        except CommandFailed as error:
            failed = 1
            say(f"{name:<8}  failed")
            report(f"{name}: {error}")
    return failed
