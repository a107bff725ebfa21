"""Parses the command line. Imports only the module of the command that was given."""

import argparse
import gc
import sys
import textwrap
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Protocol, cast

from gateway import __version__
from gateway.model import Kind

COMMANDS = {
    "serve": "run the gateway",
    "demo": "try it: a stand-in for Apple and a gateway, on loopback",
    "sandbox": "run only the stand-in for Apple's ratings API",
    "check": "validate the configuration",
    "config": "show the effective settings and where each came from",
    "token": "mint a developer token, or decode one",
    "warm": "fill the cache for one user through a running gateway",
    "purge": "drop one user's cached ratings everywhere",
    "probe": "measure how soon a write shows through other gateways",
    "healthcheck": "check that a running gateway is ready",
    "openapi": "print the OpenAPI 3.1 document",
}
"""Every command with its summary; `gateway.cli.<name>` is its `Command`."""


class Command(Protocol):
    """What the module of a command contains."""

    DESCRIPTION: str
    EXAMPLES: str
    """One command line per line."""

    def arguments(self, parser: ArgumentParser) -> None:
        """Declare options."""

    def run(self, arguments: Namespace) -> int:
        """Run; the exit status. May raise `CommandFailed` (1) and `WrongUsage` (2)."""


class Parsed(NamedTuple):
    """A command line that was understood."""

    name: str
    run: Callable[[Namespace], int]
    arguments: Namespace


def parse(argv: Sequence[str] | None) -> Parsed:
    """Parse `argv`, which defaults to the process' own. Raises SystemExit: 2 on wrong usage, 0 after help."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0].startswith("-"):
        _main_parser().parse_known_args(words)
        _main_parser().error("a command is required")
    name = words[0]
    if name not in COMMANDS:
        # An unknown word is not repeated: it may be a token.
        _main_parser().error(f"no such command{_suggestion(name, COMMANDS)}")
    command = _load(name)
    parser = _command_parser(name, command)
    arguments, unknown = parser.parse_known_args(words[1:])
    if unknown:
        parser.error("; ".join(_unrecognized(parser, unknown)))
    return Parsed(name, command.run, arguments)


def _main_parser() -> ArgumentParser:
    listed = "\n".join(f"  {name:<12} {summary}" for name, summary in COMMANDS.items())
    parser = ArgumentParser(
        prog="ratings-gateway",
        usage="ratings-gateway COMMAND [OPTION …]",
        description=f"A caching sidecar for Apple Music's ratings API.\n\ncommands:\n{listed}",
        epilog="`ratings-gateway COMMAND --help` shows options and examples.\n"
        "Exit status: 0 success, 1 failure, 2 wrong usage, 78 bad configuration.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ratings-gateway {__version__}")
    return parser


def _load(name: str) -> Command:
    """Import a command's module. Imports stay in memory, so collecting garbage meanwhile only costs time."""
    gc.disable()
    try:
        return cast("Command", import_module(f"gateway.cli.{name}"))
    finally:
        gc.enable()


def _command_parser(name: str, command: Command) -> ArgumentParser:
    summary = COMMANDS[name]
    parser = ArgumentParser(
        prog=f"ratings-gateway {name}",
        description=f"{summary[0].upper()}{summary[1:]}.\n\n{textwrap.fill(command.DESCRIPTION, 78)}",
        epilog=f"examples:\n{textwrap.indent(textwrap.dedent(command.EXAMPLES).strip(), '  ')}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.arguments(parser)
    return parser


def _unrecognized(parser: ArgumentParser, words: Iterable[str]) -> Iterable[str]:
    """Names unknown options, never their values: one may be a token."""
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    known = [
        option
        for option in parser.format_usage().replace("[", " ").replace("]", " ").split()
        if option.startswith("--")
    ]
    for option in options:
        yield f"unrecognized option {option}{_suggestion(option, known)}"
    if not options:
        yield "unrecognized arguments"


def _suggestion(word: str, known: Iterable[str]) -> str:
    nearest = get_close_matches(word, known, 1)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def takes_config(parser: ArgumentParser) -> None:
    """Add `--config`."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file of settings (GATEWAY_CONFIG)")


def takes_user_token(parser: ArgumentParser) -> None:
    """Add `--user-token-file`."""
    parser.add_argument(
        "--user-token-file",
        type=Path,
        metavar="FILE",
        help="file with the Music User Token (MUSIC_USER_TOKEN)",
    )


def takes_caller_token(parser: ArgumentParser) -> None:
    """Add `--caller-token-file`."""
    parser.add_argument(
        "--caller-token-file",
        type=Path,
        metavar="FILE",
        help="file with server.caller_tokens, of which the first is sent (GATEWAY_CALLER_TOKEN)",
    )


def takes_ops_url(parser: ArgumentParser) -> None:
    """Add `--ops-url`."""
    parser.add_argument(
        "--ops-url",
        metavar="URL",
        help="URL of the ops listener (default: from GATEWAY_OPS__HOST and __PORT, else from the file that "
        "GATEWAY_CONFIG names, else http://127.0.0.1:8081)",
    )


def kind(text: str) -> Kind:
    """A type of content. Raises argparse's error."""
    try:
        return Kind(text)
    except ValueError:
        nearest = _suggestion(text, KINDS)
        raise argparse.ArgumentTypeError(f"unknown type{nearest or f'; one of {KIND_LIST}'}") from None


def port(text: str) -> int:
    """A TCP port. Raises argparse's error."""
    if not text.isascii() or not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


KINDS = tuple(kind.value for kind in Kind)
KIND_LIST = ", ".join(KINDS)
