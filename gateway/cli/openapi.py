"""`openapi`: print the API reference, for machines or as Markdown."""

import json
from argparse import ArgumentParser, Namespace

from gateway.cli.console import say
from gateway.ops.openapi import document
from gateway.ops.reference import reference

DESCRIPTION = "The same document as /openapi.json on the ops listener."
EXAMPLES = """
    ratings-gateway openapi > openapi.json
    ratings-gateway openapi --markdown > api.md
"""


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--markdown", action="store_true", help="print the same reference as Markdown")


def run(arguments: Namespace) -> int:
    if arguments.markdown:
        say(reference(document()).rstrip())
    else:
        say(json.dumps(document(), indent=2, ensure_ascii=False))
    return 0
