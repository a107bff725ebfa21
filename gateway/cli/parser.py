"""The command line: commands, options, and examples for each."""

import argparse
import gc
import textwrap
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

from gateway import __version__
from gateway.model import Kind

Commands: TypeAlias = "argparse._SubParsersAction[ArgumentParser]"  # noqa: SLF001  # it has no public name


def parse(argv: Sequence[str] | None) -> Namespace:
    """The arguments. Raises SystemExit(2), and repeats no value of an option that does not exist: a token."""
    parser = build()
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        options = [word.partition("=")[0] for word in unknown if word.startswith("--")]
        parser.error(f"unrecognized arguments{': ' * bool(options)}{' '.join(options)}")
    return arguments


def build() -> ArgumentParser:
    """The parser; what it returns has `command`, and `run(arguments) -> exit status`."""
    parser = ArgumentParser(
        prog="ratings-gateway",
        description="A caching sidecar for Apple Music's ratings API.",
        epilog="`ratings-gateway COMMAND --help` shows examples. "
        "Exit status: 0 done, 1 failed, 2 wrong usage, 78 bad configuration.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ratings-gateway {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in (_serve, _demo, _sandbox, _check, _config, _token, _warm, _purge, _healthcheck, _openapi):
        add(commands)
    return parser


def _serve(commands: Commands) -> None:
    command = _command(
        commands,
        "serve",
        "run the gateway",
        "Runs until SIGTERM or SIGINT, then finishes what is in flight; a second signal quits at once.",
        """
        ratings-gateway serve --config /etc/ratings-gateway.toml
        GATEWAY_CACHE__REDIS_URL=redis://redis:6379 ratings-gateway serve
        """,
    )
    _takes_config(command)


def _demo(commands: Commands) -> None:
    _command(
        commands,
        "demo",
        "try it: a stand-in for Apple and a gateway, on loopback",
        "Needs no credentials and no servers. Prints curl lines whose answers show a miss and then a hit.",
        "ratings-gateway demo",
    )


def _sandbox(commands: Commands) -> None:
    command = _command(
        commands,
        "sandbox",
        "the stand-in for Apple's ratings API alone",
        "For integration tests of your own. Prints the variables that point a gateway at it.",
        """
        ratings-gateway sandbox --port 9000
        ratings-gateway sandbox --key-file sandbox.p8 > sandbox.env
        """,
    )
    command.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    command.add_argument("--port", type=_port, default=0, help="port to listen on (a free one)")
    command.add_argument(
        "--key-file", type=Path, help="keep the signing key in this file, so that it outlives a restart"
    )


def _check(commands: Commands) -> None:
    command = _command(
        commands,
        "check",
        "is the configuration sound?",
        "Loads everything and opens no listener; all faults are listed at once.",
        """
        ratings-gateway check --config config/gateway.toml
        ratings-gateway check --connect
        """,
    )
    _takes_config(command)
    command.add_argument("--connect", action="store_true", help="also ping Redis and reach the upstream")


def _config(commands: Commands) -> None:
    command = _command(
        commands,
        "config",
        "the settings in force, and where each came from",
        "Secrets are masked. Where stdout is no terminal: name, value and source between tabs.",
        """
        ratings-gateway config
        ratings-gateway config --config config/gateway.toml | grep redis
        """,
    )
    _takes_config(command)


def _token(commands: Commands) -> None:
    command = _command(
        commands,
        "token",
        "mint a developer token, or look into one",
        "Signs with apple.private_key, which is never printed.",
        """
        curl -H "Authorization: Bearer $(ratings-gateway token)" https://api.music.apple.com/v1/storefronts/us
        ratings-gateway token --decode
        ratings-gateway token --decode < token.txt
        """,
    )
    _takes_config(command)
    command.add_argument(
        "--decode",
        action="store_true",
        help="show header, claims and expiry of the token on stdin (empty, or a terminal: of a new one)",
    )


def _warm(commands: Commands) -> None:
    command = _command(
        commands,
        "warm",
        "fill the cache for one user through a running gateway",
        "The user token comes from MUSIC_USER_TOKEN or --user-token-file. An id that cannot be had: exit 1.",
        """
        MUSIC_USER_TOKEN=… ratings-gateway warm --ids albums.txt
        ratings-gateway warm --ids - --type songs --user-token-file token.txt < songs.txt
        """,
    )
    command.add_argument(
        "--ids", required=True, metavar="FILE", help="one id a line, # for comments; - is stdin"
    )
    command.add_argument("--type", type=_kind, default=Kind.ALBUMS, help=f"{_KINDS} (albums)")
    command.add_argument(
        "--url", help="where the gateway's API listens (http://127.0.0.1 and its port, or 8080)"
    )
    command.add_argument(
        "--caller-token-file",
        type=Path,
        metavar="FILE",
        help="a token of server.caller_tokens (GATEWAY_CALLER_TOKEN)",
    )
    _takes_user_token(command)


def _purge(commands: Commands) -> None:
    command = _command(
        commands,
        "purge",
        "drop one user's cached ratings everywhere",
        "In Redis and in the local tier of every gateway. The user token comes from MUSIC_USER_TOKEN or "
        "--user-token-file.",
        """
        MUSIC_USER_TOKEN=… ratings-gateway purge
        ratings-gateway purge --type albums --id 1138988512 --id 475655712 --user-token-file token.txt
        """,
    )
    command.add_argument("--type", type=_kind, help=f"only this type: {_KINDS}")
    command.add_argument(
        "--id", dest="ids", action="extend", nargs="+", metavar="ID", help="only these ids (of --type)"
    )
    command.add_argument(
        "--ops-token-file", type=Path, metavar="FILE", help="the gateway's ops.token (GATEWAY_OPS__TOKEN)"
    )
    _takes_ops_url(command)
    _takes_user_token(command)


def _healthcheck(commands: Commands) -> None:
    command = _command(
        commands,
        "healthcheck",
        "is the running gateway ready?",
        "Asks /readyz; for images without curl.",
        """
        ratings-gateway healthcheck
        ratings-gateway healthcheck --ops-url http://127.0.0.1:9090
        """,
    )
    _takes_ops_url(command)


def _openapi(commands: Commands) -> None:
    _command(
        commands,
        "openapi",
        "print the OpenAPI 3.1 document",
        "The same document as /openapi.json of the ops listener.",
        "ratings-gateway openapi > openapi.json",
    )


def _command(commands: Commands, name: str, summary: str, description: str, examples: str) -> ArgumentParser:
    title = summary[0].upper() + summary[1:] + ("" if summary.endswith("?") else ".")
    command = commands.add_parser(
        name,
        help=summary,
        description=f"{title}\n\n{textwrap.fill(description, 78)}",
        epilog=f"examples:\n{textwrap.indent(textwrap.dedent(examples).strip(), '  ')}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.set_defaults(run=_lazily(name))
    return command


def _lazily(name: str) -> Callable[[Namespace], Any]:
    """`gateway.cli.<name>.run`, imported when it runs: `healthcheck` must not pay for what `serve` needs.

    What is imported stays, so the collector only loses time on it: a fifth of the start of `serve`.
    """

    def run(arguments: Namespace) -> Any:
        gc.disable()
        try:
            module = import_module(f"gateway.cli.{name}")
        finally:
            gc.enable()
        return module.run(arguments)

    return run


def _takes_config(command: ArgumentParser) -> None:
    command.add_argument(
        "--config", type=Path, metavar="FILE", help="a TOML file of settings (GATEWAY_CONFIG)"
    )


def _takes_user_token(command: ArgumentParser) -> None:
    command.add_argument(
        "--user-token-file", type=Path, metavar="FILE", help="the Music User Token (MUSIC_USER_TOKEN)"
    )


def _takes_ops_url(command: ArgumentParser) -> None:
    command.add_argument(
        "--ops-url",
        help="where the ops listener is (as the gateway's environment says, else http://127.0.0.1:8081)",
    )


def _kind(text: str) -> Kind:
    try:
        return Kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {_KINDS}") from None


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port from 0 to 65535")
    return int(text)


_KINDS = ", ".join(Kind)
