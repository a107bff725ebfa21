"""Runs a wired gateway behind its two listeners: start, signals, drain."""

import asyncio
import errno
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import msgspec
from aiohttp import web

from gateway import descriptors
from gateway.app import Gateway, wired
from gateway.clock import Clock
from gateway.ops.listener import OpsServer
from gateway.reclaim import process_reclaimer
from gateway.reload import Reloader
from gateway.settings import ServerSettings, Settings
from gateway.telemetry.logs import close as close_logs
from gateway.telemetry.logs import logger
from gateway.web.api import Observe
from gateway.web.connection_limit import ConnectionLimit
from gateway.web.listener import ApiServer
from gateway.web.timers import KEEPALIVE_SECONDS

BACKLOG = 1024
"""Connections that may wait to be accepted; a SYN beyond them is dropped, and sent again a second later."""

ACCEPT_SECONDS = 0.3
"""Most time for accepting the connections that wait when the listener is about to close."""

IDLE_GRACE_SECONDS = 0.25
"""Before idle connections are closed: a caller may be writing its next request to one of them just now."""

OPS_DRAIN_SECONDS = 0.5

FLUSH_SECONDS = 0.4
"""Time for the delivery of writes that Redis missed, if the drain left less."""

OVERTIME_SECONDS = 1.5
"""Seconds after the drain until the process is ended by force; two are promised."""


class SettingsReading(msgspec.Struct, frozen=True):
    """Where the settings came from: how to read them again, and the files that are watched."""

    again: Callable[[], Settings]
    files: Sequence[Path] = ()
    known: bytes = b""
    """The digest of `files` as they were read, so that a change during the start is noticed too."""


class Serving(msgspec.Struct, frozen=True):
    """A gateway that listens."""

    gateway: Gateway
    reloader: Reloader
    api_url: str
    ops_url: str


class CannotListen(OSError):
    """A listener did not start: the error of the system, and the address that it was for."""

    def __init__(self, error: OSError, section: str, address: str, socket_path: Path | None) -> None:
        super().__init__(error.errno, error.strerror)
        self.section = section
        """Of the settings: `server` or `ops`."""
        self.address = address
        """`host:port`, or the path of the socket."""
        self.socket_path = socket_path
        self.is_unresolved = isinstance(error, socket.gaierror)
        """Whether the host is a name without an address; `errno` is then one of `EAI_…`."""


@asynccontextmanager
async def serving(
    settings: Settings,
    *,
    reading: SettingsReading | None = None,
    clock: Clock | None = None,
    observe: Observe | None = None,
) -> AsyncIterator[Serving]:
    """Listen; leaving drains at once: nothing new is accepted, what is in flight is finished.

    `observe` is shown every request and its answer. Raises `CannotListen` if an address is not available.
    """
    reading = reading or SettingsReading(lambda: settings)
    async with wired(settings, clock=clock, observe=observe) as gateway:
        reloader = Reloader(reading.again, settings, gateway, logger())
        if reading.files:
            gateway.tasks.spawn("watch files", reloader.watch(reading.files, reading.known))
        listeners = _Listeners(gateway, reloader, settings)
        try:
            await listeners.open()
            yield Serving(gateway, reloader, *gateway.runtime.urls())
            await listeners.stop_accepting()
        finally:
            await listeners.close()


class _Listeners:
    """The API and the ops listener, which close in two steps: first accept nothing new, then finish."""

    def __init__(self, gateway: Gateway, reloader: Reloader, settings: Settings) -> None:
        self._gateway = gateway
        self._settings = settings
        # aiohttp takes 0 seconds as no limit.
        self._drain_seconds = max(settings.server.drain_seconds, 0.001)
        most = descriptors.connections(descriptors.limit(), settings.upstream.max_concurrency)
        self._limit = ConnectionLimit(most, logger(), gateway.metrics, asyncio.get_running_loop().call_later)
        self._api_server = ApiServer(gateway.api, gateway.tasks, self._limit)
        self._api = web.ServerRunner(
            self._api_server, handle_signals=False, shutdown_timeout=self._drain_seconds
        )
        ops_server = OpsServer(
            gateway.ops.routes(reloader.reload), logger(), keepalive_seconds=KEEPALIVE_SECONDS
        )
        self._ops = web.ServerRunner(ops_server, handle_signals=False, shutdown_timeout=OPS_DRAIN_SECONDS)

    async def open(self) -> None:
        """Listen, and publish the URLs to the gateway's runtime."""
        runtime, ops = self._gateway.runtime, self._settings.ops
        await self._api.setup()
        await self._ops.setup()
        # The API first: a probe that the ops listener answers may send callers here.
        runtime.api_url = await _listen_for_callers(self._api, self._settings.server)
        runtime.accepting = True
        runtime.ops_url = await _listen(self._ops, "ops", ops.host, ops.port)

    async def stop_accepting(self) -> None:
        """Accept what waits, then no more callers; answers say that their connection closes."""
        self._gateway.api.draining = True
        self._gateway.runtime.accepting = False
        await _accept_waiting(self._api_server)
        for site in self._api.sites:
            await site.stop()
        await asyncio.sleep(min(IDLE_GRACE_SECONDS, self._settings.server.drain_seconds))

    async def close(self) -> None:
        """Finish what is in flight within the drain, deliver writes that Redis missed, and close."""
        drained_by = asyncio.get_running_loop().time() + self._drain_seconds
        await self._api.cleanup()
        self._limit.report()
        await _deliver_writes(self._gateway, drained_by)
        await self._ops.cleanup()


async def _accept_waiting(server: ApiServer) -> None:
    """Let the event loop accept what waits: the system resets the rest when the listener closes."""
    until = asyncio.get_running_loop().time() + ACCEPT_SECONDS
    # A turn of uvloop accepts one or two, and asyncio makes a connection in the third turn.
    quiet_turns = 0
    while quiet_turns < 3 and asyncio.get_running_loop().time() < until:
        before = server.accepted
        await asyncio.sleep(0)
        quiet_turns = quiet_turns + 1 if server.accepted == before else 0


async def _deliver_writes(gateway: Gateway, until: float) -> None:
    """Deliver the writes that Redis missed, until then (by the event loop's clock); log what is left."""
    if gateway.link is None:
        return
    store = gateway.link.store
    await store.replayer.flush(max(until - asyncio.get_running_loop().time(), FLUSH_SECONDS))
    if store.undelivered:
        logger().warning(
            "writes_undelivered",
            users_and_types=store.undelivered,
            reason="Redis did not receive these writes and purges: other gateways may serve the old ratings "
            "until they are no longer fresh",
        )


async def serve(settings: Settings, reading: SettingsReading) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal quits at once. SIGHUP reloads."""
    log = logger()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    seconds = settings.server.drain_delay_seconds + settings.server.drain_seconds + OVERTIME_SECONDS
    # Before anything else, because a start may wait for Redis. Until here, `gateway.__main__` handles them.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, stop, seconds)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)
    async with serving(settings, reading=reading) as served:
        loop.add_signal_handler(
            signal.SIGHUP, lambda: served.gateway.tasks.spawn("reload", served.reloader.reload("SIGHUP"))
        )
        served.gateway.tasks.spawn("reclaim memory", process_reclaimer().run())
        log.info("listening", api=served.api_url, ops=served.ops_url)
        await stop.wait()
        served.gateway.api.draining = True
        log.info(
            "draining",
            delay_seconds=settings.server.drain_delay_seconds,
            seconds=settings.server.drain_seconds,
        )
        await asyncio.sleep(settings.server.drain_delay_seconds)
    log.info("stopped")


class _UnixSite(web.UnixSite):
    """Takes over a socket that a killed gateway left, but not one in use; removes its own."""

    def __init__(self, runner: web.BaseRunner, path: Path) -> None:
        super().__init__(runner, path, backlog=BACKLOG)
        self._file = path
        self._inode: int | None = None

    async def start(self) -> None:
        if _is_answered(self._file):
            raise OSError(errno.EADDRINUSE, f"{self._file} is answered already")
        await super().start()
        self._inode = self._file.stat().st_ino

    async def stop(self) -> None:
        with suppress(OSError):
            if self._file.stat().st_ino == self._inode:
                self._file.unlink()
        await super().stop()


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(os.fspath(path))
        except TimeoutError:
            return True
        except OSError:
            return False
    return True


def _stop(stop: asyncio.Event, seconds: float) -> None:
    if stop.is_set():
        os._exit(1)
    stop.set()
    # In a thread, because the event loop may be what blocks the exit.
    overtime = threading.Timer(seconds, _end)
    overtime.daemon = True
    overtime.start()


def _end() -> None:
    logger().warning("drain_timeout", reason="The process did not end within its time to drain.")
    close_logs(seconds=0.2)
    os._exit(0)


async def _listen_for_callers(runner: web.BaseRunner, server: ServerSettings) -> str:
    path = server.unix_socket
    if path is None:
        return await _listen(runner, "server", server.host, server.port)
    with _naming("server", str(path), path):
        await _UnixSite(runner, path).start()
    return f"unix://{path}"


async def _listen(runner: web.BaseRunner, section: str, host: str, port: int) -> str:
    with _naming(section, _authority(host, port)):
        if host == "::" and socket.has_dualstack_ipv6():
            # With a socket of our own, because event loops create IPv6 sockets that refuse IPv4.
            both = socket.create_server(
                (host, port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True
            )
            await web.SockSite(runner, both, backlog=BACKLOG).start()
        else:
            await web.TCPSite(runner, host, port, backlog=BACKLOG).start()
    return f"http://{_authority(*runner.addresses[-1][:2])}"


@contextmanager
def _naming(section: str, address: str, socket_path: Path | None = None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CannotListen(error, section, address, socket_path) from error


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
