"""Listeners, signals and drain: how a gateway starts and stops."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession, UnixConnector

from gateway.sandbox import ADA, Armed, Sandbox, Where
from gateway.server import Serving, serving
from gateway.settings import load
from tests.e2e.harness import environment, gateway_on
from tests.e2e.processes import Process, process, started
from tests.ports import free_port

ONE = "1138988512"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as sandbox:
        yield sandbox


@asynccontextmanager
async def draining(
    sandbox: Sandbox, hold: Armed, seconds: float, method: str = "GET"
) -> AsyncIterator[tuple[Process, "asyncio.Future[ClientResponse]"]]:
    """A gateway that got SIGTERM while a request waits for Apple, and that request."""
    async with process(sandbox, server__drain_seconds=seconds) as served, ClientSession() as session:
        body = None if method == "GET" else {"type": "rating", "attributes": {"value": 1}}
        url = f"{served.api}/v1/me/ratings/albums/{ONE}"
        asking = asyncio.ensure_future(
            session.request(method, url, json=body, headers={"Music-User-Token": ADA})
        )
        await hold.reached()
        served.process.send_signal(signal.SIGTERM)
        await served.line("draining")
        yield served, asking


async def test_sigterm_finishes_requests_in_flight_and_exits_0(sandbox):
    hold = sandbox.hold(Where(method="GET"))
    async with draining(sandbox, hold, 20) as (served, asking):
        hold.release()
        async with await asking as answer:
            assert (answer.status, answer.headers["Connection"]) == (200, "close")
        await served.line("stopped")
        assert await served.process.wait() == 0


@pytest.mark.parametrize(
    ("method", "detail"),
    [
        ("GET", "The gateway is stopping, and its time to drain is over."),
        (
            "PUT",
            "The gateway is stopping, and its time to drain is over. The write may have been carried out.",
        ),
    ],
)
async def test_requests_that_take_longer_than_the_drain_are_answered_503_and_logged(sandbox, method, detail):
    hold = sandbox.hold(Where(method=method))
    async with draining(sandbox, hold, 2, method) as (served, asking):
        async with asyncio.timeout(4), await asking as answer:
            assert (answer.status, answer.headers["Connection"]) == (503, "close")
            assert (await answer.json())["errors"][0]["detail"] == detail
        line = await served.line("request")
        assert (line["method"], line["status"], line["level"]) == (method, 503, "warning")
        await served.line("stopped")
        assert await served.process.wait() == 0


async def test_during_the_drain_delay_requests_are_answered_with_connection_close(sandbox):
    async with process(sandbox, server__drain_delay_seconds=2) as served, ClientSession() as session:
        served.process.send_signal(signal.SIGTERM)
        await served.line("draining")
        async with session.get(f"{served.ops}/readyz") as ready:
            assert ready.status == 503
        url = f"{served.api}/v1/me/ratings/albums?ids={ONE}"
        for _ in range(2):
            async with session.get(url, headers={"Music-User-Token": ADA}) as answer:
                assert (answer.status, answer.headers["Connection"]) == (200, "close")
        assert await served.process.wait() == 0


async def test_connections_that_wait_to_be_accepted_when_the_listener_closes_are_answered(sandbox):
    async with AsyncExitStack() as gateway:
        served = await gateway.enter_async_context(serving(load(None, environment(sandbox))))
        address = ("127.0.0.1", int(served.api_url.rpartition(":")[2]))
        # While this blocks the event loop, nothing accepts them.
        waiting = [socket.create_connection(address) for _ in range(3)]
        for each in waiting:
            each.sendall(f"GET /v1/me/ratings/albums/{ONE} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    for each in waiting:
        with each:
            assert each.recv(100).startswith(b"HTTP/1.1 403 ")


async def test_a_gateway_that_was_too_busy_to_accept_them_answers_connections_before_it_stops(sandbox):
    async with process(sandbox) as served:
        address = ("127.0.0.1", int(served.api.rpartition(":")[2]))
        served.process.send_signal(signal.SIGSTOP)
        waiting = [socket.create_connection(address) for _ in range(50)]
        for each in waiting:
            each.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        served.process.send_signal(signal.SIGTERM)
        served.process.send_signal(signal.SIGCONT)
        assert await served.process.wait() == 0
    for each in waiting:
        with each:
            assert each.recv(100).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_during_the_start_drains_and_exits_0(sandbox, number):
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


async def test_a_second_signal_exits_at_once(sandbox):
    sandbox.hold(Where(method="GET"))
    async with process(sandbox, server__drain_delay_seconds=60) as served:
        served.process.send_signal(signal.SIGTERM)
        await served.line("draining")
        served.process.send_signal(signal.SIGINT)
        assert await served.process.wait() == 1


async def test_writes_that_redis_never_received_are_logged_at_the_exit(sandbox):
    async with (
        process(sandbox, cache__redis_url=f"redis://127.0.0.1:{free_port()}") as served,
        ClientSession() as session,
    ):
        url = f"{served.api}/v1/me/ratings/albums/{ONE}"
        rating = {"type": "rating", "attributes": {"value": -1}}
        async with session.put(url, json=rating, headers={"Music-User-Token": ADA}) as answer:
            assert answer.status == 200
        served.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(5):  # Redis is not waited for, although the drain may take 20 s
            lost = await served.line("writes_undelivered")
            assert (lost["level"], lost["users_and_types"]) == ("warning", 1)
            await served.line("stopped")
            assert await served.process.wait() == 0


@pytest.mark.parametrize("name", ["api", "ops"])
async def test_an_address_in_use_is_an_error_with_a_hint(sandbox, name):
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


async def status_on(path: Path) -> int:
    async with (
        ClientSession(connector=UnixConnector(str(path))) as session,
        session.get(
            f"http://gateway/v1/me/ratings/albums/{ONE}", headers={"Music-User-Token": ADA}
        ) as answer,
    ):
        return answer.status


async def test_a_unix_socket_is_removed_on_shutdown(sandbox, tmp_path):
    path = tmp_path / "api.sock"
    async with on_socket(sandbox, path):
        assert await status_on(path) == 200
    assert not path.exists()


async def test_a_unix_socket_left_by_a_killed_gateway_is_replaced(sandbox, tmp_path):
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    async with on_socket(sandbox, path):
        assert await status_on(path) == 200


async def test_a_unix_socket_of_a_running_gateway_is_not_replaced(sandbox, tmp_path):
    path = tmp_path / "api.sock"
    async with on_socket(sandbox, path):
        with pytest.raises(OSError, match="answered already"):
            async with on_socket(sandbox, path):
                pass
        assert await status_on(path) == 200


async def test_a_file_that_replaced_the_unix_socket_is_not_removed(sandbox, tmp_path):
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
async def test_a_gateway_that_accepts_no_connections_is_neither_started_nor_ready(sandbox, path):
    async with gateway_on(sandbox) as gateway:
        url = gateway.served.ops_url + path
        async with gateway.session.get(url) as answer:
            assert answer.status == 200
        gateway.served.gateway.runtime.accepting = False
        async with gateway.session.get(url) as answer:
            assert answer.status == 503


def loopback_addresses() -> list[str]:
    """Loopback hosts of this machine for URLs; not every container has IPv6."""
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


async def test_a_thread_that_cannot_be_cancelled_does_not_delay_the_exit(sandbox, tmp_path):
    """A hung name lookup occupies a thread, which Python and libuv would wait for."""
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
