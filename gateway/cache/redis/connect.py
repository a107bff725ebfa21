"""Connections to Redis that have proved to work: to the URL's server, a cluster's node, Sentinel's master."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.cache.redis.closing import give_up
from gateway.cache.redis.url import Address, RedisUrl

CONNECT_SECONDS = 1.0
"""For connecting, TLS, login and the first answer together."""
SENTINEL_SECONDS = 0.3
"""For one Sentinel to name the master, after which the next is asked."""


class Tls(msgspec.Struct, frozen=True):
    """Files for TLS to Redis; without them the system's authorities count and no certificate is shown."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None


class Opener:
    """Opens connections as one URL says. Everything here raises whatever goes wrong."""

    def __init__(self, url: RedisUrl, tls: Tls) -> None:
        self.url = url
        self._tls = tls
        self._sentinels = list(url.addresses)
        self._master: Address | None = None

    async def open(self, address: Address | None = None) -> AbstractConnection:
        """Connect to `address` (else to the URL's only server), log in, and see one answer."""
        connection = self._connection(address or next(iter(self.url.addresses), None))
        return await _proven(connection, "TIME")

    async def open_master(self) -> AbstractConnection:
        """Connect to the service's master, as Sentinel names it and as it says of itself."""
        self._master = await self._named_master()
        return await _proven(self._connection(self._master), "ROLE", _see_master)

    async def is_master_exchanged(self) -> bool:
        """Whether Sentinel names another master than the one that was opened last."""
        return await self._named_master() != self._master

    @contextlib.asynccontextmanager
    async def visit(self, address: Address) -> AsyncIterator[AbstractConnection]:
        """A connection for a question or two."""
        connection = await self.open(address)
        try:
            yield connection
        finally:
            await give_up(connection)

    async def _named_master(self) -> Address:
        faults: list[str] = []
        for sentinel in list(self._sentinels):
            try:
                async with asyncio.timeout(SENTINEL_SECONDS):
                    master = await self._ask_sentinel(sentinel)
            except Exception as error:  # noqa: BLE001 - whatever it is, the next Sentinel may know
                faults.append(f"{sentinel}: {error!r}")
                continue
            if master is not None:
                self._sentinels.remove(sentinel)
                self._sentinels.insert(0, sentinel)
                return master
            faults.append(f"{sentinel}: no such master")
        raise ConnectionError(f"no Sentinel names a master {self.url.service!r} ({'; '.join(faults)})")

    async def _ask_sentinel(self, sentinel: Address) -> Address | None:
        connection = self._connection(sentinel, of_sentinel=True)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            await connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.url.service)
            reply = await connection.read_response()
        finally:
            await give_up(connection)
        return Address(reply[0].decode(), int(reply[1])) if reply else None

    def _connection(self, address: Address | None, *, of_sentinel: bool = False) -> AbstractConnection:
        url = self.url
        if of_sentinel:
            login: dict[str, Any] = {"username": url.sentinel_username, "password": url.sentinel_password}
        else:
            login = {"username": url.username, "password": url.password, "db": url.db}
        # redis-py would retry, send CLIENT SETINFO (unknown to 7.0), and speak RESP3.
        options: dict[str, Any] = login | {
            "retry": Retry(NoBackoff(), 0),
            "socket_timeout": None,
            "socket_connect_timeout": CONNECT_SECONDS,
            "protocol": 2,
            "driver_info": None,
        }
        if address is None:
            return UnixDomainSocketConnection(path=url.path or "", **options)
        if not url.ssl:
            return Connection(host=address.host, port=address.port, **options)
        return SSLConnection(
            host=address.host,
            port=address.port,
            ssl_cert_reqs="required",
            ssl_check_hostname=True,
            ssl_ca_certs=self._tls.ca_file,
            ssl_certfile=self._tls.cert_file,
            ssl_keyfile=self._tls.key_file,
            **options,
        )


def _see_master(role: Any) -> None:
    if role[0] != b"master":
        raise ConnectionError(f"Sentinel named a {role[0]!r} as the master")


async def _proven(
    connection: AbstractConnection, question: str, judge: Callable[[Any], None] = lambda _: None
) -> AbstractConnection:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await connection.connect()  # type: ignore[no-untyped-call]
            await connection.send_command(question)
            judge(await connection.read_response())
    except BaseException:
        await give_up(connection)
        raise
    return connection
