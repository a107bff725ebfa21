"""Everything that can be asked for ratings: each as a process of its own that listens on loopback."""

import getpass
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from tests.bench import configuration
from tests.bench.machine import Machine, Process, await_listening, free_port
from tests.bench.upstream import Upstream

FRESH_SECONDS = 300
STALE_SECONDS = 300


class Contender(msgspec.Struct, frozen=True):
    """Who answers, where, and what each request must carry besides the user token."""

    name: str
    port: int
    process: Process
    headers: Mapping[str, str] = {}
    ops_port: int | None = None


def bare(machine: Machine, body: bytes) -> Contender:
    """aiohttp's `Application` on uvloop with this body for every answer: the baseline."""
    port = free_port()
    file = machine.directory / f"body-{port}"
    file.write_bytes(body)
    process = machine.start([sys.executable, "-m", "tests.bench.bare", str(port), str(file)], tested=True)
    await_listening(process, port)
    return Contender("bare aiohttp handler", port, process)


def gateway(machine: Machine, upstream: Upstream, name: str, settings: Mapping[str, object]) -> Contender:
    """`serve` with default settings but for these (`cache__fresh_seconds=1`); its log goes to /dev/null."""
    port, ops_port = free_port(), free_port()
    chosen = {"server__port": port, "ops__port": ops_port, **settings}
    environment = {f"GATEWAY_{name.upper()}": str(value) for name, value in chosen.items()}
    process = machine.start(
        [sys.executable, "-m", "gateway", "serve"],
        tested=True,
        environment={**upstream.environment, **environment},
    )
    await_listening(process, port)
    return Contender(name, port, process, ops_port=ops_port)


def redis(machine: Machine) -> tuple[str, Process]:
    """A Redis that keeps nothing on disk; its URL. Raises `FileNotFoundError` where it is not installed."""
    port = free_port()
    command = [_program("redis-server"), "--port", str(port), "--bind", "127.0.0.1"]
    process = machine.start([*command, "--save", "", "--appendonly", "no"])
    await_listening(process, port)
    return f"redis://127.0.0.1:{port}", process


def nginx(
    machine: Machine, upstream: Upstream, *, fresh: int = FRESH_SECONDS, stale: int = STALE_SECONDS
) -> Contender:
    """nginx' `proxy_cache` by user and URL. Raises `FileNotFoundError` where it is not installed."""
    program, port = _program("nginx"), free_port()
    directory = _directory(machine, f"nginx-{port}")
    file = directory / "nginx.conf"
    file.write_text(
        configuration.nginx(
            user=getpass.getuser(),
            directory=directory,
            port=port,
            upstream_port=upstream.port,
            developer_token=upstream.developer_token(),
            fresh=fresh,
            stale=stale,
        )
    )
    log = str(directory / "start.log")
    process = machine.start([program, "-c", str(file), "-p", str(directory), "-e", log], tested=True)
    await_listening(process, port)
    return Contender("nginx proxy_cache", port, process)


def varnish(
    machine: Machine, upstream: Upstream, *, fresh: int = FRESH_SECONDS, stale: int = STALE_SECONDS
) -> Contender:
    """Varnish by user and URL. Raises `FileNotFoundError` where it is not installed."""
    program, port = _program("varnishd"), free_port()
    directory = _directory(machine, f"varnish-{port}")
    file = directory / "ratings.vcl"
    file.write_text(
        configuration.varnish(
            upstream_port=upstream.port,
            developer_token=upstream.developer_token(),
            fresh=fresh,
            stale=stale,
        )
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


def direct(upstream: Upstream) -> Contender:
    """No cache at all: every request goes to the stand-in for Apple."""
    token = {"Authorization": f"Bearer {upstream.developer_token()}"}
    return Contender("straight to the stand-in", upstream.port, upstream.process, token)


def missing() -> list[str]:
    """Programs of the contenders that are not installed here."""
    return [name for name in ("nginx", "varnishd", "redis-server") if not _found(name)]


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
