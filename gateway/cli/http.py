"""HTTP client of the commands. Follows no redirects, because requests carry tokens. Quick to import."""

import base64
import json
import os
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import Message
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from gateway.cli.console import CommandFailed, WrongUsage

CALLER_TOKEN = "GATEWAY_CALLER_TOKEN"  # noqa: S105 - the name of a variable
"""One of `server.caller_tokens`; its file may contain all of them."""

UNIX = "unix://"

NOT_THE_OPS_LISTENER = "\nIs this the ops listener (port 8081), not the API?"
"""Hint for a 404 to a request of the ops listener."""


class HttpReply(NamedTuple):
    """An answer of any status."""

    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        """The body, or an empty object if it is not a JSON object."""
        try:
            document = json.loads(self.body)
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}

    def detail(self) -> str:
        """The error's detail in one line."""
        errors = self.json().get("errors")
        if isinstance(errors, list) and errors and isinstance(errors[0], dict):
            return str(errors[0].get("detail") or errors[0].get("title"))
        return self.body.decode(errors="replace").strip().partition("\n")[0][:200]


def ask(
    method: str,
    url: str,
    headers: Mapping[str, str] | None = None,
    *,
    document: object = None,
    timeout_seconds: float,
    proxy: str | None = None,
) -> HttpReply:
    """Send one request, with `document` as JSON if given. Raises `CommandFailed` if there is no answer.

    The host of a `unix://` URL is the quoted path of a socket, as `api_url` returns it.
    """
    if not url.startswith(("http://", "https://", UNIX)):
        raise WrongUsage(f"{url} is not a URL such as http://127.0.0.1:8080")
    body = None if document is None else json.dumps(document).encode()
    sent = {**(headers or {}), **({} if body is None else {"Content-Type": "application/json"})}
    try:
        request = urllib.request.Request(url, body, sent, method=method)  # noqa: S310 - the scheme was checked
        with _opener(proxy).open(request, timeout=timeout_seconds) as response:
            return HttpReply(response.status, response.headers, response.read())
    except urllib.error.HTTPError as error:
        with error:
            return HttpReply(error.code, error.headers, error.read())
    except (OSError, HTTPException, ValueError) as error:
        raise CommandFailed(_no_answer(url, proxy, error)) from None


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


def secret(file: Path | None, variable: str) -> str | None:
    """A secret from `file`, else from the variable or the file that `…_FILE` names, else None."""
    if file is None and os.environ.get(f"{variable}_FILE"):
        file = Path(os.environ[f"{variable}_FILE"])
    if file is not None:
        return _read(file, variable)
    token = os.environ.get(variable, "").strip()
    return _token(token, variable) if token else None


def _read(file: Path, name: str) -> str:
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        # A relative path may be the secret itself.
        shown = file if file.is_absolute() else f"the file for {name}"
        raise WrongUsage(f"{shown} cannot be read: {_reason(error)}") from None
    return _token(_first(text) if name == CALLER_TOKEN else text, file)


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


def _no_answer(url: str, proxy: str | None, error: Exception) -> str:
    if proxy is None:
        url = unquote(url) if url.startswith(UNIX) else url
        return f"no answer from {url}: {_reason(error)}. Is the server running there?"
    shown = urlsplit(proxy).netloc.rpartition("@")[2]
    return (
        f"no answer from {url} through the proxy {shown}: {_reason(error)}. "
        "Is the proxy running there, and may this machine use it?"
    )


def _reason(error: Exception) -> str:
    cause = getattr(error, "reason", error)
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(cause) or type(cause).__name__


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _opener(proxy: str | None) -> urllib.request.OpenerDirector:
    """An opener that uses `proxy` and ignores proxies of the environment."""
    handlers = [urllib.request.ProxyHandler({}), _NoRedirects(), _UnixSockets()]
    return urllib.request.build_opener(*handlers, *([] if proxy is None else [_Through(proxy)]))


class _UnixSockets(urllib.request.AbstractHTTPHandler):
    def unix_request(self, request: urllib.request.Request) -> urllib.request.Request:
        request.add_unredirected_header("Host", "localhost")  # not the path of the socket
        return self.do_request_(request)

    def unix_open(self, request: urllib.request.Request) -> HTTPResponse:
        path, request.host = request.host, "localhost"  # unquoted by Request
        return self.do_open(partial(_UnixConnection, path), request)


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str, host: str, **options: Any) -> None:
        super().__init__(host, **options)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _Through(urllib.request.BaseHandler):
    handler_order = 100
    """Before the handlers that connect."""

    def __init__(self, proxy: str) -> None:
        self._url = urlsplit(proxy)

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        user, at, host = self._url.netloc.rpartition("@")
        if at:
            login = base64.b64encode(unquote(user).encode()).decode()
            request.add_unredirected_header("Proxy-Authorization", f"Basic {login}")
        request.set_proxy(host, self._url.scheme)
        return request

    https_request = http_request
