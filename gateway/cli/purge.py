"""`purge`: drop one user's cached ratings in every tier of every gateway."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from gateway.cli.access import NOT_THE_OPS_LISTENER, ops_token, ops_url, user_token
from gateway.cli.console import CommandFailed, WrongUsage, say
from gateway.cli.http import ask
from gateway.cli.parser import KIND_LIST, kind, takes_ops_url, takes_user_token

DESCRIPTION = (
    "In Redis and in the in-process tier of every gateway. The user token comes from MUSIC_USER_TOKEN or "
    "--user-token-file."
)
EXAMPLES = """
    MUSIC_USER_TOKEN=… ratings-gateway purge
    ratings-gateway purge --type albums --id 1138988512 --id 475655712 --user-token-file token.txt
"""


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--type", type=kind, help=f"only this type: {KIND_LIST}")
    parser.add_argument(
        "--id", dest="ids", action="extend", nargs="+", metavar="ID", help="only these ids (of --type)"
    )
    parser.add_argument(
        "--ops-token-file",
        type=Path,
        metavar="FILE",
        help="file with ops.token (GATEWAY_OPS__TOKEN, else from the file that GATEWAY_CONFIG names)",
    )
    takes_ops_url(parser)
    takes_user_token(parser)


def run(arguments: Namespace) -> int:
    kind_, ids = arguments.type, arguments.ids
    if ids and kind_ is None:
        raise WrongUsage("--id needs --type: the same id may exist in several types")
    if bad := [id_ for id_ in ids or () if not kind_.admits(id_)]:
        raise WrongUsage(f"invalid {kind_} ids: {', '.join(bad)}")
    headers = {"Music-User-Token": user_token(arguments.user_token_file)}
    bearer = ops_token(arguments.ops_token_file)
    if bearer is not None:
        headers["Authorization"] = f"Bearer {bearer}"
    url = f"{ops_url(arguments.ops_url)}/-/purge"
    document = ({} if kind_ is None else {"type": kind_}) | ({"ids": ids} if ids else {})
    answer = ask("POST", url, headers, document=document, timeout_seconds=10)
    if answer.status != 200:
        hint = _HINTS.get(answer.status, "")
        raise CommandFailed(f"{url} answered {answer.status}: {answer.detail()}{hint}")
    if answer.json().get("purged") is not True:
        raise CommandFailed(
            "Purged here only: Redis did not answer. The purge is replayed when Redis is back, unless this "
            "gateway stops first."
        )
    say(f"purged {_what(kind_, ids)}")
    return 0


def _what(kind_: str | None, ids: list[str] | None) -> str:
    if ids:
        return f"{len(ids)} id{'s'[: len(ids) > 1]} of {kind_}"
    return f"all {kind_}" if kind_ else "every type"


_HINTS = {
    401: "\nPass the gateway's ops.token: --ops-token-file FILE, or GATEWAY_OPS__TOKEN.",
    403: "\nSet ops.token on the gateway and pass it, or call from the gateway's own host.",
    404: NOT_THE_OPS_LISTENER,
}
