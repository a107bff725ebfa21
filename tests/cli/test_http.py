"""The HTTP client of the commands: answers, failures, tokens, and the addresses of a gateway."""

import threading
from email.message import Message
from http.server import BaseHTTPRequestHandler
from socketserver import UnixStreamServer

import pytest

from gateway.cli.access import api_url
from gateway.cli.console import CommandFailed, WrongUsage
from gateway.cli.http import HttpReply, ask


def reply(body: bytes) -> HttpReply:
    return HttpReply(500, Message(), body)


def test_a_document_is_sent_as_json(gateway):
    gateway.always(200, {"purged": True})
    answer = ask("POST", f"{gateway.url}/-/purge", {"X-A": "b"}, document={"ids": ["1"]}, timeout_seconds=5)
    assert (answer.status, answer.json()) == (200, {"purged": True})
    [asked] = gateway.asked
    assert (asked.method, asked.path, asked.document) == ("POST", "/-/purge", {"ids": ["1"]})
    assert (asked.headers["Content-Type"], asked.headers["X-A"]) == ("application/json", "b")


def test_a_failure_on_the_way_through_a_proxy_names_the_proxy_without_its_login():
    with pytest.raises(CommandFailed) as failed:
        ask("GET", "https://apple.invalid", timeout_seconds=5, proxy="http://me:secret@127.0.0.1:1")
    assert "through the proxy 127.0.0.1:1: Connection refused" in str(failed.value)
    assert "secret" not in str(failed.value)


@pytest.mark.parametrize("status", [204, 404, 503])
def test_an_answer_of_any_status_is_returned(gateway, status):
    gateway.always(status, "")
    assert ask("GET", gateway.url, timeout_seconds=5).status == status


def test_redirects_are_not_followed(gateway):
    gateway.always(302, Location=f"{gateway.url}/elsewhere")
    assert ask("GET", gateway.url, timeout_seconds=5).status == 302
    assert len(gateway.asked) == 1


def test_proxies_of_the_environment_are_ignored(gateway, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    gateway.always(200)
    assert ask("GET", gateway.url, timeout_seconds=5).status == 200


def test_a_proxy_receives_the_request_and_its_own_login(gateway):
    gateway.always(200)
    proxy = gateway.url.replace("http://", "http://me:w%2Ford@")
    assert ask("GET", "http://apple.invalid/v1/test", timeout_seconds=5, proxy=proxy).status == 200
    [asked] = gateway.asked
    assert asked.path == "http://apple.invalid/v1/test"
    assert asked.headers["Proxy-Authorization"] == "Basic bWU6dy9vcmQ="


def test_no_answer_names_the_url_and_the_cause():
    with pytest.raises(CommandFailed, match=r"no answer from http://127.0.0.1:1/x: Connection refused"):
        ask("GET", "http://127.0.0.1:1/x", timeout_seconds=5)


def test_a_url_with_an_invalid_port_fails_with_the_reason():
    with pytest.raises(CommandFailed, match="nonnumeric port: 'port"):
        ask("GET", "http://127.0.0.1:port", timeout_seconds=5)


@pytest.mark.parametrize("url", ["127.0.0.1:8081", "file:///etc/passwd", ""])
def test_a_url_that_is_not_http_is_wrong_usage(url):
    with pytest.raises(WrongUsage, match="not a URL such as"):
        ask("GET", url, timeout_seconds=5)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"errors":[{"title":"T","detail":"D"}]}', "D"),
        (b'{"errors":[{"title":"T"}]}', "T"),
        (b"oops\nmore", "oops"),
        (b"[]", "[]"),
        (b"", ""),
    ],
)
def test_the_detail_is_that_of_the_first_error_or_the_first_line(body, detail):
    assert reply(body).detail() == detail


@pytest.mark.parametrize("body", [b"", b"[1]", b"{", b"\xff"])
def test_a_body_that_is_not_a_json_object_is_empty(body):
    assert reply(body).json() == {}


@pytest.mark.parametrize("status", [200, 302, 404])
def test_a_request_goes_over_a_socket(tmp_path, status):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = self.path.encode(), self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b" ".join(asked))

        def log_message(self, *_: object) -> None:
            pass

    path = tmp_path / "api:8080.sock"
    with UnixStreamServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        answer = ask("POST", f"{api_url(f'unix://{path}')}/v1/x?a=b", document=[1], timeout_seconds=5)
        thread.join()
    assert (answer.status, answer.body) == (status, b"/v1/x?a=b [1]")


def test_a_socket_without_a_server_is_named_by_its_path(tmp_path):
    path = tmp_path / "api.sock"
    with pytest.raises(CommandFailed, match=f"no answer from unix://{path}/v1: No such file or directory"):
        ask("GET", f"{api_url(f'unix://{path}')}/v1", timeout_seconds=5)
