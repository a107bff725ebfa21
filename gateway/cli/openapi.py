"""`openapi`: the API reference for machines."""

import json
from argparse import Namespace

from gateway.cli.console import say
from gateway.ops.openapi import document


def run(_: Namespace) -> int:
    say(json.dumps(document(), indent=2, ensure_ascii=False))
    return 0
