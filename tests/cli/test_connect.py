"""`check --connect` against real servers: every kind of address, and the advice after a failure."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
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


def test_tls_is_verified(start, reach, tmp_path):
    cert, key = certificate(tmp_path)
    port = free_port()
    files = ["--tls-cert-file", str(cert), "--tls-key-file", str(key), "--tls-ca-cert-file", str(cert)]
    start("--tls-port", str(port), *files)
    url = f"rediss://127.0.0.1:{port}"
    assert reach(url, ca_file=cert, cert_file=cert, key_file=key).startswith(f"{url} answers")
    with pytest.raises(CommandFailed, match=r"cache\.redis_ca_file"):
        reach(url)
