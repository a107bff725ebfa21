"""`check`: everything that can be known before the gateway starts."""

import time
from argparse import Namespace

from gateway.apple.developer_token import mint
from gateway.cli import connect
from gateway.cli.config import with_settings
from gateway.cli.console import BAD_CONFIGURATION, Failure, report, say
from gateway.cli.token import signing_key
from gateway.settings import Settings


def run(arguments: Namespace) -> int:
    def check(settings: Settings) -> int:
        status = _credential(settings)
        return status or (_connections(settings) if arguments.connect else 0)

    return with_settings(arguments, check)


def _credential(settings: Settings) -> int:
    try:
        mint(signing_key(settings), time.time())
    except ValueError as error:
        report(f"A developer token cannot be signed: {error}")
        return BAD_CONFIGURATION
    given = sum(source != "default" for source in settings.sources.values())
    say(f"settings  ok  {given} of {len(settings.sources)} given, the rest by default")
    return 0


def _connections(settings: Settings) -> int:
    checks = {"redis": connect.redis, "upstream": connect.upstream}
    failed = 0
    for name, reach in checks.items():
        try:
            say(f"{name:<8}  ok  {reach(settings)}")
        except Failure as error:
            failed = 1
            say(f"{name:<8}  failed")
            report(f"{name}: {error}")
    return failed
