"""Which gateway a command calls, and with what tokens: by options, else by the gateway's own configuration.

Quick to import: a health check must not load the settings.
"""

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gateway.cli.console import WrongUsage
from gateway.cli.http import UNIX, HttpReply, reason

REFUSALS = {
    "401": "Apple refuses the gateway's developer token: run `ratings-gateway check --connect` on its host.",
    "403": "Apple refuses the user token: it is wrong or expired; the user must sign in again.",
}
"""What an error of the API means by its status, whether it is the request's or one id's."""
NOT_THE_OPS_LISTENER = "\nIs this the ops listener (port 8081), not the API?"
"""Hint for a 404 to a request of the ops listener."""


def hint(answer: HttpReply) -> str:
    """What to do about an error of the API, as a line to append; empty if its detail says enough."""
    text = REFUSALS.get(str(answer.status), "")
    if answer.status == 401 and "WWW-Authenticate" in answer.headers:
        text = "Pass one of server.caller_tokens: --caller-token-file FILE, or GATEWAY_CALLER_TOKEN."
    elif answer.status == 404:
        text = "Is this the API (port 8080), not the ops listener?"
    return f"\n{text}" if text else ""


def user_token(file: Path | None) -> str:
    """The Music User Token from `--user-token-file` or MUSIC_USER_TOKEN."""
    token = secret(file, "MUSIC_USER_TOKEN")
    if token is None:
        raise WrongUsage("no user token: set MUSIC_USER_TOKEN or pass --user-token-file FILE")
    return token


def ops_token(file: Path | None) -> str | None:
    """`ops.token` from `file`, else as the gateway reads it from its variables or its file."""
    token = secret(file, "GATEWAY_OPS__TOKEN")
    if token is not None:
        return token
    written = _section("ops")
    if named := written.get("token_file"):
        return _read(Path(str(named)), "ops.token")
    return _token(str(written["token"]).strip(), "ops.token") if written.get("token") else None


def caller_token(file: Path | None) -> str | None:
    """One of `server.caller_tokens`; a file may have all of them, of which the first is sent."""
    return secret(file, "GATEWAY_CALLER_TOKEN", several=True)


def secret(file: Path | None, variable: str, *, several: bool = False) -> str | None:
    """A secret from `file`, else from the variable or the file that `…_FILE` names, else None.

    `several`: a file may have more than one, separated by commas or line ends.
    """
    if file is None and os.environ.get(f"{variable}_FILE"):
        file = Path(os.environ[f"{variable}_FILE"])
    if file is not None:
        return _read(file, variable, several=several)
    token = os.environ.get(variable, "").strip()
    return _token(token, variable) if token else None


def _read(file: Path, name: str, *, several: bool = False) -> str:
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        # A relative path may be the secret itself.
        shown = file if file.is_absolute() else f"the file for {name}"
        raise WrongUsage(f"{shown} cannot be read: {reason(error)}") from None
    return _token(_first(text) if several else text, file)


def _first(text: str) -> str:
    """The first of several tokens: during a rotation the gateway accepts old and new."""
    pieces = (piece.strip() for piece in re.split(r"[,\r\n]", text))
    return next(filter(None, pieces), "")


def _token(text: str, origin: object) -> str:
    """Validate that a header can carry `text`: later errors would quote the whole header."""
    if not text or not text.isascii() or not text.isprintable():
        raise WrongUsage(f"{origin} contains no token: expected one line of ASCII")
    return text


def api_url(given: str | None) -> str:
    """URL of the API listener for `ask`: as given, else the configured socket, else loopback and its port."""
    url = given or _configured_api_url()
    return UNIX + quote(url.removeprefix(UNIX), safe="") if url.startswith(UNIX) else url.rstrip("/")


def _configured_api_url() -> str:
    path = os.environ.get("GATEWAY_SERVER__UNIX_SOCKET") or _section("server").get("unix_socket")
    return f"{UNIX}{path}" if path else f"http://127.0.0.1:{_listener('server')[1] or 8080}"


def ops_url(given: str | None) -> str:
    """URL of the ops listener: as given, else as configured, else the default. Raises `WrongUsage`."""
    if given:
        if not given.startswith(("http://", "https://")):
            raise WrongUsage(f"{given} is not a URL such as http://127.0.0.1:8081")
        return given.rstrip("/")
    host, port = _listener("ops")
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - replaced here, not bound
    return f"http://[{host}]:{port or 8081}" if ":" in host else f"http://{host}:{port or 8081}"


def _listener(section: str) -> tuple[str, str]:
    """Host and port from the gateway's variables or its file; empty if neither sets them."""
    written = _section(section)
    host, port = (
        os.environ.get(f"GATEWAY_{section}__{name}".upper()) or str(written.get(name, ""))
        for name in ("host", "port")
    )
    return host, port


def _section(name: str) -> dict[str, Any]:
    """A table of the gateway's file; empty if there is none."""
    table = _config_file().get(name)
    return table if isinstance(table, dict) else {}


def _config_file() -> dict[str, Any]:
    """The gateway's file, unchecked: `settings` is slow to import and requires secrets."""
    path = os.environ.get("GATEWAY_CONFIG")
    if not path:
        return {}
    import tomllib  # noqa: PLC0415 - a health check must be quick, and seldom needs it

    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
