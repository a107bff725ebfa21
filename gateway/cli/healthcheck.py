"""`healthcheck`: whether the running gateway is ready."""

from argparse import Namespace

from gateway.cli.console import Failure, say
from gateway.cli.http import ask, ops_url


def run(arguments: Namespace) -> int:
    url = f"{ops_url(arguments.ops_url)}/readyz"
    answer = ask("GET", url, timeout_seconds=5)
    if answer.status != 200:
        raise Failure(
            f"{url} answered {answer.status}: {answer.detail()}. Ask {url}?verbose for the reasons."
        )
    say("ready")
    return 0
