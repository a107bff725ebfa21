"""`openapi`: print the API reference for machines."""

import json
from argparse import ArgumentParser, Namespace

from gateway.cli.console import say
from gateway.ops.openapi import document

DESCRIPTION = "The same document as /openapi.json on the ops listener."
EXAMPLES = "ratings-gateway openapi > openapi.json"


def arguments(_: ArgumentParser) -> None:
    """No options."""


def run(_: Namespace) -> int:
    say(json.dumps(document(), indent=2, ensure_ascii=False))
    return 0
