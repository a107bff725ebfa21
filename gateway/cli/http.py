"""HTTP client of the commands. Follows no redirects, because requests carry tokens. Quick to import."""

import base64
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import Message
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from gateway.cli.console import CommandFailed, WrongUsage

UNIX = "unix://"


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

    The host of a `unix://` URL is the quoted path of a socket.
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


def _no_answer(url: str, proxy: str | None, error: Exception) -> str:
    if proxy is None:
        url = unquote(url) if url.startswith(UNIX) else url
        return f"no answer from {url}: {reason(error)}. Is the server running there?"
    shown = urlsplit(proxy).netloc.rpartition("@")[2]
    return (
        f"no answer from {url} through the proxy {shown}: {reason(error)}. "
        "Is the proxy running there, and may this machine use it?"
    )


def reason(error: Exception) -> str:
    """Why something failed, in the system's words."""
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
