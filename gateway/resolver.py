"""Resolves host names without blocking the process, its exit, or the lookups of other names.

`getaddrinfo` has no time limit and cannot be cancelled, and the event loop's own version shares a few threads
among all names. Here each lookup runs in a daemon thread of its own, at most one per name at a time.
"""

import asyncio
import contextlib
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from ipaddress import IPv6Address, ip_address

from gateway.bounded import keep_latest

AddressInfo = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]
"""One entry of `socket.getaddrinfo`: family, type, protocol, canonical name, socket address."""
NameLookup = Callable[[str], Sequence[AddressInfo]]
"""Blocking: the stream addresses of a name, with any port. Raises OSError."""

KNOWN_SHARE = 0.25
"""Share of the time limit spent waiting for a fresh answer if there is an earlier one."""
MAX_NAMES = 1000
"""Names whose addresses are remembered."""


class ResolutionError(OSError):
    """A name could not be resolved. `kind` is the error type of RFC 9209."""

    kind = "dns_error"


class ResolutionTimeout(ResolutionError):
    """A name was not resolved in time, and there is no earlier answer."""

    kind = "dns_timeout"


def system_lookup(host: str) -> Sequence[AddressInfo]:
    """Ask the system's resolver."""
    return socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)  # type: ignore[return-value]  # no bytes: a build without IPv6


class Resolver:
    """Resolves names, and remembers the last answer for when a lookup hangs or fails.

    One resolver may serve several event loops, one after another.
    """

    def __init__(self, lookup: NameLookup = system_lookup) -> None:
        self._lookup = lookup
        self._known: OrderedDict[str, Sequence[AddressInfo]] = OrderedDict()
        self._running: dict[str, asyncio.Future[Sequence[AddressInfo]]] = {}

    async def resolve(self, host: str, port: int, timeout: float) -> Sequence[AddressInfo]:  # noqa: ASYNC109 - a lookup goes on after it
        """The addresses of `host`, at least one, within `timeout` seconds.

        Joins the lookup of the same name that is already running. A cancelled caller does not affect it.
        Raises ResolutionTimeout or ResolutionError.
        """
        numeric = _numeric(host)
        if numeric is not None:
            return _with_port(numeric, port)
        running = self._running.get(host)
        if running is None or running.get_loop() is not asyncio.get_running_loop():
            running = self._start(host)
        known = self._known.get(host)
        await asyncio.wait([running], timeout=timeout if known is None else timeout * KNOWN_SHARE)
        if running.done() and running.exception() is None:
            return _with_port(running.result(), port)
        if known is not None:
            return _with_port(known, port)
        if not running.done():
            raise ResolutionTimeout(f"{host} was not resolved within {timeout:g} s")
        error = running.exception()
        reason = getattr(error, "strerror", None) or error
        raise ResolutionError(f"{host} cannot be resolved: {reason}") from error

    def _start(self, host: str) -> "asyncio.Future[Sequence[AddressInfo]]":
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[AddressInfo]] = loop.create_future()
        self._running[host] = answer

        def look_up() -> None:
            found: Sequence[AddressInfo] = []
            fault: Exception | None = None
            try:
                found = self._lookup(host)
            except Exception as error:  # noqa: BLE001 - UnicodeError for a label that is too long, for one
                fault = error
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(self._finish, host, answer, found, fault)

        try:
            threading.Thread(target=look_up, name=f"resolve {host}", daemon=True).start()
        except RuntimeError as error:  # out of threads
            self._finish(host, answer, [], error)
        return answer

    def _finish(
        self,
        host: str,
        answer: "asyncio.Future[Sequence[AddressInfo]]",
        found: Sequence[AddressInfo],
        fault: Exception | None,
    ) -> None:
        if self._running.get(host) is answer:
            del self._running[host]
        if fault is not None or not found:
            answer.set_exception(fault or OSError("no address"))
            answer.exception()  # retrieved, so that asyncio does not log it if every caller has left
            return
        keep_latest(self._known, host, found, MAX_NAMES)
        answer.set_result(found)


def _numeric(host: str) -> Sequence[AddressInfo] | None:
    """The address that `host` itself is, or None for a name. The system's resolver is not called for this."""
    try:
        address = ip_address(host)
        scope = address.scope_id if isinstance(address, IPv6Address) else None
        index = 0 if scope is None else int(scope) if scope.isdigit() else socket.if_nametoindex(scope)
    except (ValueError, OSError):
        return None
    text = host.partition("%")[0]
    if isinstance(address, IPv6Address):
        return [(socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (text, 0, 0, index))]
    return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (text, 0))]


def _with_port(addresses: Sequence[AddressInfo], port: int) -> Sequence[AddressInfo]:
    return [
        (family, type_, proto, name, (address[0], port, *address[2:]))
        for family, type_, proto, name, address in addresses
    ]
