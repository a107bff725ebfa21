"""`check --connect` against real servers: every kind of address, and the advice after a failure."""

import asyncio
import contextlib
import re
import ssl
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from gateway.cli import connect
from gateway.cli.console import CommandFailed
from gateway.settings import load
from tests.cache.redis.harness import MINIMAL_ACL
from tests.cache.redis.scripted import Command, ScriptedRedis
from tests.ports import free_port
from tests.redis_server import RedisServer

pytestmark = pytest.mark.redis_server

Start = Callable[..., RedisServer]


@pytest.fixture
def start() -> Iterator[Start]:
    with contextlib.ExitStack() as running:

        def run(*options: str, sentinel: Sequence[str] | None = None) -> RedisServer:
            return running.enter_context(RedisServer(*options, sentinel=sentinel))

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


def test_a_server_with_a_password_is_accepted_and_named_without_it(start, reach):
    port = start("--requirepass", "hunter2").port
    said = reach(f"redis://:hunter2@127.0.0.1:{port}/0")
    assert said.startswith(f"redis://******@127.0.0.1:{port}/0 answers")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://127.0.0.1:1", "no answer from 127.0.0.1:1: Connection refused. Is the server running"),
        ("unix:///nowhere.sock", "no answer from /nowhere.sock: No such file or directory. Is the server"),
        ("redis+cluster://127.0.0.1:1", "no answer: Connection refused (Connect call failed ('127.0"),
    ],
)
def test_a_server_that_does_not_answer_is_named_without_error_numbers(reach, url, said):
    with pytest.raises(CommandFailed) as caught:
        reach(url)
    assert str(caught.value).startswith(said)
    assert "Errno" not in str(caught.value)


async def test_a_server_that_never_answers_is_named(reach):
    async def silent(_: Command) -> bytes:
        await asyncio.Event().wait()
        return b""

    async with ScriptedRedis() as server:
        server.respond = silent
        with pytest.raises(CommandFailed, match=rf"no answer from 127.0.0.1:{server.port} in time\. Is the"):
            await asyncio.to_thread(reach, f"redis://127.0.0.1:{server.port}")


@pytest.mark.parametrize("login", ["", ":hunter3@", "nobody:hunter3@"])
def test_a_wrong_login_is_named_and_not_repeated(start, reach, login):
    port = start("--requirepass", "hunter2").port
    with pytest.raises(CommandFailed, match="Compare user and password") as caught:
        reach(f"redis://{login}127.0.0.1:{port}")
    assert "hunter3" not in str(caught.value)


async def test_a_server_in_protected_mode_is_named_in_one_sentence_with_a_cure(reach):
    async def deny(command: Command) -> bytes:
        return b"-DENIED Redis is running in protected mode. You may adopt one of the following: 1) 2) 3)\r\n"

    async with ScriptedRedis() as server:
        server.respond = deny
        with pytest.raises(CommandFailed, match=r"protected mode\. Give its users passwords") as caught:
            await asyncio.to_thread(reach, f"redis://127.0.0.1:{server.port}")
    assert "adopt" not in str(caught.value)


RIGHTS = [word for word in MINIMAL_ACL.split() if word.startswith("+")]


def user(rights: str) -> list[str]:
    return ["--user", *rights.removeprefix("user ").split()]


def test_the_documented_acl_suffices(start, reach):
    port = start(*user(MINIMAL_ACL)).port
    assert "answers 15 kinds of commands" in reach(f"redis://gateway:secret@127.0.0.1:{port}")


@pytest.mark.parametrize("right", [*RIGHTS, "~ratings:*", "&ratings:*"])
def test_a_missing_right_is_a_failure_with_the_command_that_grants_it(start, reach, right):
    port = start(*user(" ".join(word for word in MINIMAL_ACL.split() if word != right))).port
    with pytest.raises(CommandFailed, match=r"(?is)no permissions.*ACL") as caught:
        reach(f"redis://gateway:secret@127.0.0.1:{port}")
    assert right in str(caught.value)


def test_the_check_leaves_no_key_behind(start, reach):
    server = start()
    reach(f"redis://127.0.0.1:{server.port}")
    with server.client() as client:
        assert client.dbsize() == 0


def test_a_master_that_refuses_writes_is_a_failure_with_advice(start, reach):
    master = start("--min-replicas-to-write", "1").port
    with pytest.raises(CommandFailed, match="It refuses writes: too few replicas"):
        reach(f"redis://127.0.0.1:{master}")


def test_a_replica_is_a_failure_with_advice(start, reach):
    master = start().port
    replica = start("--replicaof", "127.0.0.1", str(master)).port
    with pytest.raises(CommandFailed, match="This is a replica"):
        reach(f"redis://127.0.0.1:{replica}")


def test_a_unix_socket_is_accepted(start, reach):
    assert "answers" in reach(f"unix://{start().socket_path}")


def test_a_cluster_whose_first_node_is_down_is_accepted(start, reach):
    node = start("--cluster-enabled", "yes")
    with node.client() as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        while b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):
            pass
    url = f"redis+cluster://127.0.0.1:1,127.0.0.1:{node.port},127.0.0.1:1"
    assert "answers" in reach(url)


def test_a_cluster_without_slots_is_a_failure(start, reach):
    with pytest.raises(CommandFailed, match="serves no slots"):
        reach(f"redis+cluster://127.0.0.1:{start('--cluster-enabled', 'yes').port}")


def test_a_single_server_is_not_accepted_as_a_cluster(start, reach):
    with pytest.raises(CommandFailed, match="cluster support disabled"):
        reach(f"redis+cluster://127.0.0.1:{start().port}")


def test_the_master_that_sentinel_names_is_checked(start, reach):
    master = start().port
    sentinel = start(sentinel=[f"sentinel monitor main 127.0.0.1 {master} 1"]).port
    assert "answers" in reach(f"redis+sentinel://127.0.0.1:{sentinel}/main")
    with pytest.raises(CommandFailed, match="no Sentinel names a master 'other'"):
        reach(f"redis+sentinel://127.0.0.1:{sentinel}/other")


@pytest.mark.parametrize(
    ("login", "said"),
    [
        ("", "NOAUTH Authentication required"),
        ("?sentinel_password=hunter3", "invalid username-password pair"),
    ],
)
def test_a_sentinel_that_wants_another_login_is_named_with_what_it_said(start, reach, login, said):
    sentinel = start(sentinel=["requirepass hunter2", "sentinel monitor main 127.0.0.1 1 1"]).port
    with pytest.raises(CommandFailed) as caught:
        reach(f"redis+sentinel://127.0.0.1:{sentinel}/main{login}")
    text = str(caught.value)
    assert f"127.0.0.1:{sentinel}: " in text
    assert said in text
    assert "Compare ?sentinel_username=…&sentinel_password=… in cache.redis_url" in text
    assert "hunter3" not in text


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
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


class Secured(NamedTuple):
    """A server with TLS, which demands a certificate of its clients, and the files."""

    port: int
    cert: Path
    key: Path


@pytest.fixture
def secured(start: Start, tmp_path: Path) -> Secured:
    cert, key = certificate(tmp_path)
    port = free_port()
    files = ["--tls-cert-file", str(cert), "--tls-key-file", str(key), "--tls-ca-cert-file", str(cert)]
    start("--tls-port", str(port), *files)
    return Secured(port, cert, key)


def test_tls_is_verified(secured, reach):
    url = f"rediss://127.0.0.1:{secured.port}"
    answered = reach(url, ca_file=secured.cert, cert_file=secured.cert, key_file=secured.key)
    assert answered.startswith(f"{url} answers")
    with pytest.raises(CommandFailed, match=r"cache\.redis_ca_file"):
        reach(url)


def test_a_server_that_demands_a_certificate_is_a_failure_that_names_the_settings_for_one(secured, reach):
    with pytest.raises(CommandFailed, match=r"cache\.redis_cert_file and cache\.redis_key_file") as caught:
        reach(f"rediss://127.0.0.1:{secured.port}", ca_file=secured.cert)
    assert "redis_ca_file" not in str(caught.value)


WITH_OR_WITHOUT_TLS = re.escape("Does it speak TLS (rediss://), or not (redis://)?")
CLUSTER_WITH_OR_WITHOUT_TLS = re.escape("Does it speak TLS (?ssl=true), or not (no ?ssl=true)?")


def test_a_server_with_tls_that_is_asked_without_is_a_failure_with_that_advice(secured, reach):
    with pytest.raises(CommandFailed, match=WITH_OR_WITHOUT_TLS):
        reach(f"redis://127.0.0.1:{secured.port}")


async def test_a_server_that_closes_the_connection_is_a_failure_with_that_advice(reach):
    async def close(_: Command) -> None:
        return None

    async with ScriptedRedis() as server:
        server.respond = close
        with pytest.raises(CommandFailed, match=WITH_OR_WITHOUT_TLS):
            await asyncio.to_thread(reach, f"redis://127.0.0.1:{server.port}")


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("rediss://127.0.0.1:{}", WITH_OR_WITHOUT_TLS),
        ("redis+cluster://127.0.0.1:{}?ssl=true", CLUSTER_WITH_OR_WITHOUT_TLS),
    ],
)
def test_a_server_without_tls_that_is_asked_with_it_is_a_failure_with_that_advice(start, reach, url, advice):
    with pytest.raises(CommandFailed, match=advice):
        reach(url.format(start().port))


@pytest.mark.parametrize(
    "alert",
    [
        "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required (_ssl.c:2580)",
        "[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca (_ssl.c:2580)",
        "[SSL: SSLV3_ALERT_BAD_CERTIFICATE] sslv3 alert bad certificate (_ssl.c:2580)",
    ],
)
def test_an_alert_about_the_gateways_certificate_is_a_failure_that_names_the_settings(
    reach, monkeypatch, alert
):
    async def alerted(*_: object, **__: object) -> None:
        raise ssl.SSLError(1, alert)

    monkeypatch.setattr("gateway.cache.redis.connect.Opener.open", alerted)
    with pytest.raises(CommandFailed, match=r"cache\.redis_cert_file and cache\.redis_key_file") as caught:
        reach("rediss://127.0.0.1:6379")
    assert "redis_ca_file" not in str(caught.value)
