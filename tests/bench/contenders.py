"""Everything that can be asked for ratings: each as a process of its own that listens on loopback."""

import getpass
import json
import os
import shutil
import sys
import time
import urllib.request
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.bench import configuration
from tests.bench.machine import ROOT, Machine, Process, await_listening
from tests.ports import free_port

HOUR = 3_600
CALL_MS = 40.0
ID_MS = 0.1
BEARER = "any"


class Checkout(msgspec.Struct, frozen=True):
    """A version of the gateway: what the report calls it, and where its sources are."""

    name: str
    directory: Path = ROOT


class Contender(msgspec.Struct, frozen=True):
    """Who answers, where, and what each request must carry besides the user token."""

    name: str
    port: int
    process: Process
    headers: Mapping[str, str] = {}
    ops_port: int = 0


class Upstream(msgspec.Struct, frozen=True):
    """A running stand-in for Apple."""

    port: int
    process: Process

    def counts(self) -> dict[str, int]:
        """`reads`, `writes` and `ids` so far, and the calls `in_flight`."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/_calls", timeout=10) as response:
            counts: dict[str, int] = json.load(response)
            return counts

    def wait_idle(self) -> None:
        """Wait until no call is under way."""
        while self.counts()["in_flight"]:
            time.sleep(0.02)


def upstream(machine: Machine, *, call_ms: float = 0, id_ms: float = 0, rated_percent: int = 100) -> Upstream:
    """Start a stand-in whose calls take `call_ms`, and `id_ms` more for each id."""
    port = free_port()
    arguments = [str(port), str(call_ms), str(id_ms), str(rated_percent)]
    process = machine.start([sys.executable, "-m", "tests.bench.standin", *arguments])
    await_listening(process, port)
    return Upstream(port, process)


def bare(machine: Machine, body: bytes) -> Contender:
    """aiohttp's `Application` on uvloop with this body for every answer: the baseline."""
    port = free_port()
    file = machine.directory / f"body-{port}"
    file.write_bytes(body)
    process = machine.start([sys.executable, "-m", "tests.bench.bare", str(port), str(file)], tested=True)
    await_listening(process, port)
    return Contender("bare aiohttp handler", port, process)


def gateway(
    machine: Machine,
    checkout: Checkout,
    apple: Upstream,
    settings: Mapping[str, object] | None = None,
    *,
    await_ready: bool = True,
) -> Contender:
    """`serve` with default settings but for these (`cache__fresh_seconds=1`); its log goes to /dev/null."""
    port, ops_port = free_port(), free_port()
    chosen = {
        "server__port": port,
        "ops__port": ops_port,
        "apple__base_url": f"http://127.0.0.1:{apple.port}",
        "apple__team_id": "TEAM000000",
        "apple__key_id": "KEY0000000",
        "apple__private_key": _private_key(),
        **(settings or {}),
    }
    process = machine.start(
        [sys.executable, "-m", "gateway", "serve"],
        tested=True,
        directory=checkout.directory,
        environment={f"GATEWAY_{name.upper()}": str(value) for name, value in chosen.items()},
    )
    if await_ready:
        await_listening(process, port)
    return Contender(checkout.name, port, process, ops_port=ops_port)


def redis(machine: Machine) -> str:
    """A Redis that keeps nothing on disk; its URL. Raises `FileNotFoundError` where it is not installed."""
    port = free_port()
    command = [_program("redis-server"), "--port", str(port), "--bind", "127.0.0.1"]
    process = machine.start([*command, "--save", "", "--appendonly", "no"])
    await_listening(process, port)
    return f"redis://127.0.0.1:{port}"


def nginx(machine: Machine, apple: Upstream, *, fresh: int = HOUR) -> Contender:
    """nginx' `proxy_cache` by user and URL. Raises `FileNotFoundError` where it is not installed."""
    program, port = _program("nginx"), free_port()
    directory = _directory(machine, f"nginx-{port}")
    file = directory / "nginx.conf"
    file.write_text(
        configuration.nginx(
            user=getpass.getuser(),
            directory=directory,
            port=port,
            upstream_port=apple.port,
            developer_token=BEARER,
            fresh=fresh,
            stale=fresh,
        )
    )
    log = str(directory / "start.log")
    process = machine.start([program, "-c", str(file), "-p", str(directory), "-e", log], tested=True)
    await_listening(process, port)
    return Contender("nginx proxy_cache", port, process)


def varnish(machine: Machine, apple: Upstream, *, fresh: int = HOUR) -> Contender:
    """Varnish by user and URL. Raises `FileNotFoundError` where it is not installed."""
    program, port = _program("varnishd"), free_port()
    directory = _directory(machine, f"varnish-{port}")
    file = directory / "ratings.vcl"
    file.write_text(
        configuration.varnish(upstream_port=apple.port, developer_token=BEARER, fresh=fresh, stale=fresh)
    )
    process = machine.start(
        [
            program, "-F", "-f", str(file), "-a", f"127.0.0.1:{port}", "-n", str(directory / "state"),
            "-j", "none", "-s", "malloc,128m", "-p", "http_req_size=512k",
            "-p", "workspace_client=1m", "-p", "timeout_idle=60", "-T", "none",
        ],
        tested=True,
    )  # fmt: skip
    await_listening(process, port)
    return Contender("Varnish", port, process)


def direct(apple: Upstream) -> Contender:
    """No cache at all: every request goes to the stand-in for Apple."""
    headers = {"Authorization": f"Bearer {BEARER}"}
    return Contender("straight to the stand-in", apple.port, apple.process, headers)


def missing() -> list[str]:
    """Programs of the contenders that are not installed here."""
    return [name for name in ("nginx", "varnishd", "redis-server") if not _found(name)]


@cache
def _private_key() -> str:
    """A key that signs developer tokens; the stand-in takes them all."""
    return (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        .decode()
    )


def _directory(machine: Machine, name: str) -> Path:
    directory = machine.directory / name
    directory.mkdir()
    directory.chmod(0o755)
    return directory


def _program(name: str) -> str:
    found = _found(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed")
    return found


def _found(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin")
