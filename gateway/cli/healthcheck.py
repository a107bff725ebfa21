"""`healthcheck`: exit 0 if the running gateway is ready."""

from argparse import ArgumentParser, Namespace

from gateway.cli.access import NOT_THE_OPS_LISTENER, ops_url
from gateway.cli.console import CommandFailed, say
from gateway.cli.http import ask
from gateway.cli.parser import takes_ops_url

DESCRIPTION = "Requests /readyz. For container images without curl."
EXAMPLES = """
    ratings-gateway healthcheck
    ratings-gateway healthcheck --ops-url http://127.0.0.1:9090
"""


def arguments(parser: ArgumentParser) -> None:
    takes_ops_url(parser)


def run(arguments: Namespace) -> int:
    url = f"{ops_url(arguments.ops_url)}/readyz"
    answer = ask("GET", url, timeout_seconds=5)
    if answer.status != 200:
        detail = answer.detail().rstrip(".")
        hint = NOT_THE_OPS_LISTENER if answer.status == 404 else f" {url}?verbose lists the checks."
        raise CommandFailed(f"{url} answered {answer.status}: {detail}.{hint}")
    say("ready")
    return 0
