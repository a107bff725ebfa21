"""Opens connections to Redis that have answered once: to a server, a cluster's node, Sentinel's master.

Names are resolved without blocking, all addresses of a name are raced (RFC 8305), and TLS certificates are
always verified.
"""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from aiohappyeyeballs import start_connection
from redis.exceptions import AuthenticationError, ResponseError

from gateway.cache.redis.connection import RedisConnection
from gateway.cache.redis.errors import NoMasterError
from gateway.cache.redis.url import Address, RedisUrl
from gateway.resolver import Resolver

CONNECT_SECONDS = 1.0
"""Timeout in seconds for resolving, connecting, TLS, login and the first reply together."""
SENTINEL_SECONDS = 0.3
"""Timeout in seconds for one Sentinel to name the master; then the next is asked."""
RESOLVE_SHARE = 0.8
"""Share of either timeout that resolving may take, so that a name that does not resolve can be reported."""
HAPPY_EYEBALLS_SECONDS = 0.1
"""Head start of each address over the next; RFC 8305's least, because Redis is near."""
FIRST_ATTEMPT_SECONDS = 1.0
"""How long a start waits for the first attempt to connect."""


async def first_attempt(tried: asyncio.Event) -> None:
    """Wait until a first attempt to connect has ended, for FIRST_ATTEMPT_SECONDS at most."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FIRST_ATTEMPT_SECONDS):
            await tried.wait()


class Tls(msgspec.Struct, frozen=True):
    """Files for TLS to Redis. Without them the system's authorities count and no certificate is shown."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None

    def context(self) -> ssl.SSLContext:
        """Read anew for each connection, so that renewed certificates are used."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.cert_file is not None:
            context.load_cert_chain(self.cert_file, self.key_file)
        return context


class Opener:
    """Opens connections to what one URL names. Methods raise every error unchanged."""

    def __init__(self, url: RedisUrl, tls: Tls, resolver: Resolver) -> None:
        self.url = url
        self._tls = tls
        self._resolver = resolver
        self._sentinels = list(url.addresses)
        self._master: Address | None = None

    async def open(
        self, address: Address | None = None, *, seconds: float = CONNECT_SECONDS
    ) -> RedisConnection:
        """Connect to `address` (else to the URL's only server), log in, and see one reply."""
        target = address or next(iter(self.url.addresses), None)
        async with asyncio.timeout(seconds), self._connected(target, seconds=seconds) as connection:
            await self._log_in(connection)
            await connection.execute("TIME")
            return connection

    async def open_master(self) -> RedisConnection:
        """Connect to the service's master: Sentinel names it, and it must call itself one."""
        self._master = await self._named_master()
        async with asyncio.timeout(CONNECT_SECONDS), self._connected(self._master) as connection:
            await self._log_in(connection)
            role = await connection.execute("ROLE")
            if role[0] != b"master":
                raise ConnectionError(f"Sentinel named {self._master}, whose role is {role[0].decode()}")
            return connection

    async def is_master_replaced(self) -> bool:
        """Whether Sentinel names another master than the one that was opened last."""
        return await self._named_master() != self._master

    @contextlib.asynccontextmanager
    async def visit(
        self, address: Address, *, seconds: float = CONNECT_SECONDS
    ) -> AsyncIterator[RedisConnection]:
        """A connection for a command or two, opened within `seconds`."""
        connection = await self.open(address, seconds=seconds)
        try:
            yield connection
        finally:
            connection.close(ConnectionError("closed after use"))

    async def _named_master(self) -> Address:
        faults: list[str] = []
        cause: Exception | None = None
        for sentinel in list(self._sentinels):
            try:
                async with asyncio.timeout(SENTINEL_SECONDS):
                    master = await self._ask_sentinel(sentinel)
            except Exception as error:  # noqa: BLE001 - any failure: the next Sentinel may answer
                faults.append(f"{sentinel}: {_said(error)}")
                cause = error
                continue
            if master is not None:
                self._sentinels.remove(sentinel)
                self._sentinels.insert(0, sentinel)
                return master
            faults.append(f"{sentinel}: no such master")
            cause = None
        listed = "; ".join(faults)
        raise NoMasterError(f"no Sentinel names a master {self.url.service!r} ({listed})") from cause

    async def _ask_sentinel(self, sentinel: Address) -> Address | None:
        url = self.url
        async with self._connected(sentinel, seconds=SENTINEL_SECONDS) as connection:
            await _authenticate(connection, url.sentinel_username, url.sentinel_password)
            reply = await connection.execute("SENTINEL", "GET-MASTER-ADDR-BY-NAME", url.service or "")
            connection.close(ConnectionError("closed after use"))
        return Address(reply[0].decode(), int(reply[1])) if reply else None

    async def _log_in(self, connection: RedisConnection) -> None:
        await _authenticate(connection, self.url.username, self.url.password)
        if self.url.db:
            await connection.execute("SELECT", self.url.db)

    @contextlib.asynccontextmanager
    async def _connected(
        self, address: Address | None, *, seconds: float = CONNECT_SECONDS
    ) -> AsyncIterator[RedisConnection]:
        """A connection, closed if the block fails; `seconds` bounds its caller."""
        connection = await self._connect(address, seconds)
        try:
            yield connection
        except BaseException:
            connection.close(ConnectionError("not usable"))
            raise

    async def _connect(self, address: Address | None, seconds: float) -> RedisConnection:
        loop = asyncio.get_running_loop()
        if address is None:
            _, local = await loop.create_unix_connection(RedisConnection, self.url.path)
            return local
        addresses = await self._resolver.resolve(address.host, address.port, seconds * RESOLVE_SHARE)
        opened = await start_connection(addresses, happy_eyeballs_delay=HAPPY_EYEBALLS_SECONDS)
        tls: dict[str, Any] = {}
        try:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.url.ssl:
                tls = {"ssl": self._tls.context(), "server_hostname": address.host}
            _, connection = await loop.create_connection(RedisConnection, sock=opened, **tls)
        except BaseException:
            opened.close()
            raise
        return connection


def _said(error: Exception) -> str:
    """What a failure says, in the system's or the server's words; not its repr, which may leave them out."""
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and error.errno:
        return os.strerror(error.errno)
    return str(error).rstrip(".") or type(error).__name__


async def _authenticate(connection: RedisConnection, username: str | None, password: str | None) -> None:
    if not username and not password:
        return
    credentials = [username] if username else []
    try:
        await connection.execute("AUTH", *credentials, password or "")
    except ResponseError as error:
        raise AuthenticationError(str(error)) from error
