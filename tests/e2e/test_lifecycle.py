"""Key rotation, reload, drain: what happens to a gateway between its first and its last request."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession, UnixConnector
from watchfiles._rust_notify import WatchfilesRustInternalError

from gateway.reload import digest
from gateway.sandbox import ADA, Credentials, Sandbox, Where
from gateway.server import Serving, SettingsReading, serving
from gateway.settings import load
from tests.e2e.harness import Caller, ShiftedClock, environment
from tests.e2e.processes import free_port, process, started

ONE = "1138988512"


class Secret:
    """A directory as Kubernetes mounts a Secret: files are links into `..data`, which is swapped whole."""

    def __init__(self, root: Path, credentials: Credentials) -> None:
        self._root = root
        self._version = 0
        self.swap(credentials.key_id, credentials.private_key_pem)
        (root / "gateway.toml").symlink_to(Path("..data") / "gateway.toml")
        (root / "key.p8").symlink_to(Path("..data") / "key.p8")

    @property
    def config(self) -> Path:
        return self._root / "gateway.toml"

    def swap(self, key_id: str, pem: str) -> None:
        self._version += 1
        data = self._root / f"..{self._version}"
        data.mkdir()
        key = self._root / "key.p8"
        (data / "gateway.toml").write_text(f'[apple]\nkey_id = "{key_id}"\nprivate_key_file = "{key}"\n')
        (data / "key.p8").write_text(pem)
        link = self._root / "..new"
        link.symlink_to(data.name)
        link.rename(self._root / "..data")


@asynccontextmanager
async def rotating(
    sandbox: Sandbox, root: Path, *, meanwhile: Credentials | None = None
) -> AsyncIterator[tuple[Caller, Secret]]:
    """A gateway on files; `meanwhile` come once it has read its settings, before it watches them."""
    secret = Secret(root, sandbox.credentials)
    environ = environment(sandbox)
    del environ["GATEWAY_APPLE__KEY_ID"], environ["GATEWAY_APPLE__PRIVATE_KEY"]
    settings = load(secret.config, environ)
    files = [secret.config, *settings.secret_files.values()]
    reading = SettingsReading(lambda: load(secret.config, environ), files, digest(files))
    if meanwhile is not None:
        secret.swap(meanwhile.key_id, meanwhile.private_key_pem)
    clock = ShiftedClock()
    async with ClientSession() as session, serving(settings, reading=reading, clock=clock) as served:
        yield Caller(session, served, clock), secret


async def until_metric(caller: Caller, name: str, value: float) -> None:
    async with asyncio.timeout(20):
        while (await caller.metrics()).get(name) != value:
            pass


RELOADED = "gateway_config_last_reload_successful"


async def test_a_key_is_rotated_by_a_directory_swap_with_no_failed_request(sandbox, tmp_path):
    new = Credentials.generate(key_id="ROTATEDKEY")
    sandbox.tokens.trust(new.trusted())
    async with rotating(sandbox, tmp_path) as (caller, secret):
        replies = [await caller.get("albums", [ONE])]
        secret.swap(new.key_id, new.private_key_pem)
        await until_metric(caller, 'gateway_developer_token_mints_total{reason="key"}', 1)
        sandbox.tokens.distrust(sandbox.credentials.key_id)
        replies += [await caller.get("albums", [n]) for n in range(1, 4)]
        assert [reply.status for reply in replies] == [200] * 4
        assert all(call.status == 200 for call in sandbox.calls)
        assert (await caller.metrics())[RELOADED] == 1


async def test_a_reload_in_mid_flight_ends_no_call(sandbox, tmp_path):
    new = Credentials.generate(key_id="ROTATEDKEY")
    sandbox.tokens.trust(new.trusted())
    hold = sandbox.hold(Where(method="GET"), times=1)
    async with rotating(sandbox, tmp_path) as (caller, secret):
        asking = asyncio.ensure_future(caller.get("albums", [ONE]))
        await hold.reached()
        secret.swap(new.key_id, new.private_key_pem)
        await until_metric(caller, 'gateway_developer_token_mints_total{reason="key"}', 1)
        hold.release()
        assert (await asking).status == 200


async def test_a_broken_key_keeps_the_old_one_and_says_so(sandbox, tmp_path, capfd):
    async with rotating(sandbox, tmp_path) as (caller, secret):
        secret.swap("ROTATEDKEY", "-----BEGIN PRIVATE KEY-----\nbroken\n-----END PRIVATE KEY-----\n")
        await until_metric(caller, RELOADED, 0)
        assert (await caller.get("albums", [ONE])).status == 200
    assert "apple.private_key" in capfd.readouterr().out


async def test_a_reload_can_be_asked_for(sandbox, tmp_path):
    new = Credentials.generate(key_id="ROTATEDKEY")
    async with rotating(sandbox, tmp_path) as (caller, secret):
        assert (await caller.ask("GET", "/-/reload")).status == 405
        secret.swap(new.key_id, "no key")
        refused = await caller.ask("POST", "/-/reload")
        assert (refused.status, refused.json["reloaded"]) == (500, False)
        assert "no key" not in refused.json["error"]
        secret.swap(new.key_id, new.private_key_pem)
        accepted = await caller.ask("POST", "/-/reload")
        assert (accepted.status, accepted.json) == (200, {"reloaded": True})
        assert (await caller.metrics())[RELOADED] == 1


async def test_a_key_is_rotated_where_the_kernel_has_no_watches_left(sandbox, tmp_path, monkeypatch, capfd):
    def refused(*_: object, **__: object) -> None:
        raise WatchfilesRustInternalError("Too many open files (os error 24)")

    monkeypatch.setattr("watchfiles.awatch", refused)
    monkeypatch.setattr("gateway.reload.POLL_SECONDS", 0.01)
    async with rotating(sandbox, tmp_path) as (caller, secret):
        new = Credentials.generate(key_id="ROTATEDKEY")
        secret.swap(new.key_id, new.private_key_pem)
        await until_metric(caller, 'gateway_developer_token_mints_total{reason="key"}', 1)
    assert "Too many open files" in capfd.readouterr().out


async def test_a_key_that_changes_while_the_gateway_starts_is_picked_up(sandbox, tmp_path, monkeypatch):
    monkeypatch.setattr("gateway.reload.POLL_SECONDS", 0.1)
    new = Credentials.generate(key_id="ROTATEDKEY")
    async with rotating(sandbox, tmp_path, meanwhile=new) as (caller, _):
        await until_metric(caller, 'gateway_developer_token_mints_total{reason="key"}', 1)


async def test_sigterm_finishes_what_is_in_flight_and_exits_0(sandbox):
    hold = sandbox.hold(Where(method="GET"))
    async with process(sandbox, server__drain_seconds=20) as served, ClientSession() as session:
        url = f"{served.api}/v1/me/ratings/albums?ids={ONE}"
        asking = asyncio.ensure_future(session.get(url, headers={"Music-User-Token": "sandbox-user-ada"}))
        await hold.reached()
        served.process.send_signal(signal.SIGTERM)
        await served.line("draining")
        hold.release()
        async with await asking as answer:
            assert (answer.status, answer.headers["Connection"]) == (200, "close")
        await served.line("stopped")
        assert await served.process.wait() == 0


async def test_what_takes_longer_than_the_drain_is_cut_off(sandbox):
    hold = sandbox.hold(Where(method="GET"))
    async with process(sandbox, server__drain_seconds=4) as served, ClientSession() as session:
        url = f"{served.api}/v1/me/ratings/albums?ids={ONE}"
        asking = asyncio.ensure_future(session.get(url, headers={"Music-User-Token": "sandbox-user-ada"}))
        await hold.reached()
        served.process.send_signal(signal.SIGTERM)
        await served.line("draining")
        async with asyncio.timeout(7):
            assert (await served.next_line())["event"] == "stopped"
            assert await served.process.wait() == 0
        with pytest.raises(ClientError):
            await asking


async def test_while_the_drain_is_delayed_new_callers_are_served_and_sent_away(sandbox):
    async with process(sandbox, server__drain_delay_seconds=2) as served, ClientSession() as session:
        served.process.send_signal(signal.SIGTERM)
        await served.line("draining")
        async with session.get(f"{served.ops}/readyz") as ready:
            assert ready.status == 503
        url = f"{served.api}/v1/me/ratings/albums?ids={ONE}"
        for _ in range(2):
            async with session.get(url, headers={"Music-User-Token": "sandbox-user-ada"}) as answer:
                assert (answer.status, answer.headers["Connection"]) == (200, "close")
        assert await served.process.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_during_the_start_ends_it_in_order(sandbox, number):
    starting, gone = asyncio.Event(), asyncio.Event()

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        starting.set()
        await gone.wait()
        writer.close()

    redis = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"redis://127.0.0.1:{redis.sockets[0].getsockname()[1]}"
    async with redis, started(sandbox, cache__redis_url=url) as served:
        await starting.wait()
        served.process.send_signal(signal.SIGHUP)
        served.process.send_signal(number)
        await served.line("draining")
        assert await served.process.wait() == 0
        gone.set()


async def test_a_second_signal_quits_at_once(sandbox):
    sandbox.hold(Where(method="GET"))
    async with process(sandbox, server__drain_delay_seconds=60) as served:
        served.process.send_signal(signal.SIGTERM)
        await served.line("draining")
        served.process.send_signal(signal.SIGINT)
        assert await served.process.wait() == 1


@pytest.mark.parametrize("name", ["api", "ops"])
async def test_an_address_that_is_taken_is_said_and_fails(sandbox, name):
    async with process(sandbox) as first:
        port = getattr(first, name).rpartition(":")[2]
        setting = {"api": "SERVER", "ops": "OPS"}[name]
        second = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway",
            "serve",
            env=os.environ | environment(sandbox) | {f"GATEWAY_{setting}__PORT": port},
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await second.communicate()
        assert (second.returncode, b"Is another gateway running" in said) == (1, True)


def on_socket(sandbox: Sandbox, path: Path) -> AbstractAsyncContextManager[Serving]:
    return serving(load(None, environment(sandbox, server__unix_socket=path)))


async def asked_on(path: Path) -> int:
    async with (
        ClientSession(connector=UnixConnector(str(path))) as session,
        session.get(
            f"http://gateway/v1/me/ratings/albums/{ONE}", headers={"Music-User-Token": ADA}
        ) as answer,
    ):
        return answer.status


async def test_a_unix_socket_is_removed_at_the_end(sandbox, tmp_path):
    path = tmp_path / "api.sock"
    async with on_socket(sandbox, path):
        assert await asked_on(path) == 200
    assert not path.exists()


async def test_a_unix_socket_that_a_killed_gateway_left_is_taken_over(sandbox, tmp_path):
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    async with on_socket(sandbox, path):
        assert await asked_on(path) == 200


async def test_a_unix_socket_of_a_running_gateway_is_not_taken(sandbox, tmp_path):
    path = tmp_path / "api.sock"
    async with on_socket(sandbox, path):
        with pytest.raises(OSError, match="answered already"):
            async with on_socket(sandbox, path):
                pass
        assert await asked_on(path) == 200


async def test_a_unix_socket_that_somebody_put_in_its_place_is_not_removed(sandbox, tmp_path):
    path = tmp_path / "api.sock"
    async with on_socket(sandbox, path):
        path.rename(tmp_path / "ours")
        path.touch()
    assert path.exists()


async def test_the_ops_listener_opens_once_the_api_listener_accepts(sandbox, monkeypatch):
    resolving, resolved = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    resolve = loop.getaddrinfo

    async def slow(host: str, *more: Any, **named: Any) -> Any:
        if host == "api.invalid":
            resolving.set()
            await resolved.wait()
            host = "127.0.0.1"
        return await resolve(host, *more, **named)

    monkeypatch.setattr(loop, "getaddrinfo", slow)
    ports = [free_port(), free_port()]
    environ = environment(
        sandbox,
        server__host="api.invalid",
        server__allow_unauthenticated="true",
        server__port=ports[0],
        ops__port=ports[1],
    )
    starting = serving(load(None, environ))
    entering = asyncio.ensure_future(starting.__aenter__())
    await resolving.wait()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", ports[1])
    resolved.set()
    await entering
    _, writer = await asyncio.open_connection("127.0.0.1", ports[0])
    writer.close()
    await starting.__aexit__(None, None, None)


@pytest.mark.parametrize("path", ["/startupz", "/readyz"])
async def test_a_gateway_that_accepts_no_connections_is_neither_started_nor_ready(gateway, path):
    url = gateway.served.ops_url + path
    async with gateway.session.get(url) as answer:
        assert answer.status == 200
    gateway.served.gateway.runtime.accepting = False
    async with gateway.session.get(url) as answer:
        assert answer.status == 503


def loopback_addresses() -> list[str]:
    """Those of this machine, as they stand in URLs; not every container has IPv6."""
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return ["127.0.0.1"]
    return ["127.0.0.1", "[::1]"]


async def test_both_listeners_on_the_ipv6_wildcard_serve_both_families(sandbox):
    settings = {"server__host": "::", "ops__host": "::", "server__allow_unauthenticated": "true"}
    async with serving(load(None, environment(sandbox, **settings))) as served, ClientSession() as session:
        for host in loopback_addresses():
            for url, path in ((served.api_url, f"/v1/me/ratings/albums/{ONE}"), (served.ops_url, "/readyz")):
                address = f"http://{host}:{url.rpartition(':')[2]}"
                async with session.get(address + path, headers={"Music-User-Token": ADA}) as answer:
                    assert answer.status == 200
        # IPv4 callers appear as mapped addresses, and count as loopback all the same.
        reload = f"http://127.0.0.1:{served.ops_url.rpartition(':')[2]}/-/reload"
        async with session.post(reload) as answer:
            assert answer.status == 200


async def test_a_thread_that_nothing_can_cancel_does_not_hold_up_the_end(sandbox, tmp_path):
    """A slow resolver keeps a thread, which Python and libuv would wait for."""
    (tmp_path / "sitecustomize.py").write_text(STUCK)
    environ = os.environ | environment(sandbox, server__drain_seconds=0) | {"PYTHONPATH": str(tmp_path)}
    stuck = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "serve", env=environ, stdout=asyncio.subprocess.PIPE
    )
    assert stuck.stdout is not None
    await stuck.stdout.readline()
    stuck.send_signal(signal.SIGTERM)
    async with asyncio.timeout(2):
        assert await stuck.wait() == 0


STUCK = """
import threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
"""
