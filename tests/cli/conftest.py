"""Commands run in this process, and a fake gateway for them."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.cli import main


class Ran(NamedTuple):
    status: int
    out: str
    err: str


class Asked(NamedTuple):
    method: str
    path: str
    headers: Message
    document: Any


class FakeGateway:
    """Answers every request by `answer`, and keeps the requests."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answer: Callable[[Asked], tuple[int, dict[str, str], object]] = lambda _: (200, {}, {})
        self.url = ""

    def always(self, status: int, document: object = None, **headers: str) -> None:
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        self.answer = lambda _: (status, named, {} if document is None else document)


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    fake = FakeGateway()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length)
            fake.asked.append(
                Asked(self.command, self.path, self.headers, json.loads(body) if body else None)
            )
            status, headers, document = fake.answer(fake.asked[-1])
            sent = document.encode() if isinstance(document, str) else json.dumps(document).encode()
            self.send_response(status)
            for name, text in headers.items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_POST = do_PUT = do_DELETE = do_CONNECT = do_GET  # noqa: N815  # the names that http.server calls

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        fake.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield fake
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _no_ambient_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("GATEWAY_", "MUSIC_USER_TOKEN")):
            monkeypatch.delenv(name)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    def command(*argv: str) -> Ran:
        try:
            status = main(argv)
        except SystemExit as stopped:
            status = int(stopped.code or 0)
        out, err = capsys.readouterr()
        return Ran(status, out, err)

    return command


@pytest.fixture(scope="session")
def pem() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch, pem: str) -> None:
    """The three required settings."""
    monkeypatch.setenv("GATEWAY_APPLE__TEAM_ID", "TEAM123456")
    monkeypatch.setenv("GATEWAY_APPLE__KEY_ID", "KEYID12345")
    monkeypatch.setenv("GATEWAY_APPLE__PRIVATE_KEY", pem)
