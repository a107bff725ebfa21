"""`purge`: drops one user's cached ratings in every tier of every gateway."""

from argparse import Namespace

from gateway.cli.console import Failure, WrongUsage, say
from gateway.cli.http import ask, ops_url, secret, user_token


def run(arguments: Namespace) -> int:
    kind, ids = arguments.type, arguments.ids
    if ids and kind is None:
        raise WrongUsage("--id needs --type: ids of different types look alike")
    if bad := [id_ for id_ in ids or () if not kind.admits(id_)]:
        raise WrongUsage(f"not ids of {kind}: {', '.join(bad)}")
    headers = {"Music-User-Token": user_token(arguments.user_token_file)}
    ops_token = secret(arguments.ops_token_file, "GATEWAY_OPS__TOKEN")
    if ops_token is not None:
        headers["Authorization"] = f"Bearer {ops_token}"
    url = f"{ops_url(arguments.ops_url)}/-/purge"
    document = ({} if kind is None else {"type": kind}) | ({"ids": ids} if ids else {})
    answer = ask("POST", url, headers, document=document, timeout_seconds=10)
    if answer.status != 200:
        hint = _HINTS.get(answer.status, "")
        raise Failure(f"{url} answered {answer.status}: {answer.detail()}{hint}")
    if answer.json().get("purged") is not True:
        raise Failure("this gateway has purged, but Redis could not be told: repeat it when Redis is back")
    say(f"purged {_what(kind, ids)}")
    return 0


def _what(kind: str | None, ids: list[str] | None) -> str:
    if ids:
        return f"{len(ids)} id{'s'[: len(ids) > 1]} of {kind}"
    return f"all {kind}" if kind else "every type"


_HINTS = {
    401: "\nGive the gateway's ops.token: --ops-token-file FILE, or GATEWAY_OPS__TOKEN.",
    403: "\nSet ops.token on the gateway, or ask it on a loopback address.",
    404: "\nIs this the ops listener (port 8081), and not the API?",
}
