"""`check --connect` against real servers: every kind of address, and what is said where they refuse."""

import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from gateway.cli import connect
from gateway.cli.console import Failure
from gateway.settings import load

pytestmark = pytest.mark.redis_server

Start = Callable[..., int]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a redis-server with these lines of configuration; returns its port once it is ready."""
    with contextlib.ExitStack() as running:

        def run(*lines: str, ready: str = "eady to accept connections") -> int:
            port = free_port()
            config = tmp_path / f"{port}.conf"
            config.write_text("\n".join([line.format(port=port) for line in lines] or [f"port {port}"]))
            sentinel = ["--sentinel"] if "+monitor" in ready else []
            server = subprocess.Popen(
                [
                    "redis-server",
                    str(config),
                    *sentinel,
                    "--dir",
                    str(tmp_path),
                    "--save",
                    "",
                    "--bind",
                    "127.0.0.1",
                ],
                stdout=subprocess.PIPE,
                text=True,
            )
            running.enter_context(server)
            running.callback(server.kill)
            watchdog = threading.Timer(20, server.kill)
            watchdog.start()
            running.callback(watchdog.cancel)
            assert server.stdout is not None
            assert any(ready in line for line in server.stdout), "the server ended before it was ready"
            return port

        yield run


@pytest.fixture
def reach(pem: str) -> Callable[..., str]:
    def redis(url: str, **files: Path) -> str:
        environ = {
            "GATEWAY_APPLE__TEAM_ID": "TEAM123456",
            "GATEWAY_APPLE__KEY_ID": "KEYID12345",
            "GATEWAY_APPLE__PRIVATE_KEY": pem,
            "GATEWAY_CACHE__REDIS_URL": url,
            **{f"GATEWAY_CACHE__REDIS_{name.upper()}": str(path) for name, path in files.items()},
        }
        return connect.redis(load(None, environ))

    return redis


def test_a_server_behind_a_password(start, reach):
    port = start("port {port}", "requirepass hunter2")
    assert reach(f"redis://:hunter2@127.0.0.1:{port}/0").startswith("redis:// answers, ")


@pytest.mark.parametrize("login", ["", ":hunter3@", "nobody:hunter3@"])
def test_a_wrong_login_says_so_and_repeats_nothing(start, reach, login):
    port = start("port {port}", "requirepass hunter2")
    with pytest.raises(Failure, match="Compare user and password") as caught:
        reach(f"redis://{login}127.0.0.1:{port}")
    assert "hunter3" not in str(caught.value)


def test_a_unix_socket(start, reach, tmp_path):
    start("port 0", f"unixsocket {tmp_path}/redis.sock")
    assert "answers" in reach(f"unix://{tmp_path}/redis.sock")


def test_a_cluster_of_which_the_first_node_is_down(start, reach):
    port = start("port {port}", "cluster-enabled yes", f"cluster-port {free_port()}")
    assert "answers" in reach(f"redis+cluster://127.0.0.1:1,127.0.0.1:{port},127.0.0.1:1")


def test_the_master_that_sentinel_names(start, reach):
    master = start("port {port}")
    sentinel = start(
        "port {port}", f"sentinel monitor main 127.0.0.1 {master} 1", ready="+monitor master main"
    )
    assert "answers" in reach(f"redis+sentinel://127.0.0.1:{sentinel}/main")
    with pytest.raises(Failure, match="no Sentinel names a master 'other'"):
        reach(f"redis+sentinel://127.0.0.1:{sentinel}/other")


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return folder / "cert.pem", folder / "key.pem"


def test_tls_is_verified(start, reach, tmp_path):
    cert, key = certificate(tmp_path)
    port = start(
        "port 0",
        "tls-port {port}",
        f"tls-cert-file {cert}",
        f"tls-key-file {key}",
        f"tls-ca-cert-file {cert}",
    )
    url = f"rediss://127.0.0.1:{port}"
    assert reach(url, ca_file=cert, cert_file=cert, key_file=key).startswith("rediss:// answers")
    with pytest.raises(Failure, match=r"cache\.redis_ca_file"):
        reach(url)
