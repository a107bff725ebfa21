"""aiohttp sessions for calls to Apple: connection pools, name resolution, and tracing.

No cookies are kept. The environment's proxies and `.netrc` are not read here.
"""

import socket
import types
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway import __version__
from gateway.resolver import Resolver

LARGEST_HEADER: Final = 32 * 1024
"""Bytes of one header line of an answer; cookies and content security policies reach 15 KiB."""

KEEPALIVE_SECONDS: Final = 30.0

RESOLVE_SECONDS: Final = 2.0
"""Timeout of one name lookup. The lookup itself continues, and the next attempt joins it."""


class Sessions(NamedTuple):
    """Where requests are sent from. Each request carries a `trace_request_ctx` that tracing marks."""

    pooled: aiohttp.ClientSession
    fresh: aiohttp.ClientSession
    """Opens a new connection for each request."""


@asynccontextmanager
async def open_sessions(
    *, origin: str | None, max_concurrency: int, proxy_url: str | None, resolver: Resolver
) -> AsyncIterator[Sessions]:
    """Open both sessions; `proxy_url` may hold user and password."""
    headers = {"Accept": "application/json", "User-Agent": f"ratings-gateway/{__version__}"}
    if origin is not None:
        headers["Origin"] = origin
    names = _Names(resolver)
    # If one kept connection is dead, the others in the pool often are too: a repeat must not use them.
    pool, one_by_one = (
        _Connector(
            limit=max_concurrency,
            keepalive_timeout=None if one_by_one else KEEPALIVE_SECONDS,
            force_close=one_by_one,
            resolver=names,
            # The resolver keeps addresses, and joins lookups of the same name.
            use_dns_cache=False,
        )
        for one_by_one in (False, True)
    )
    async with (
        _session(pool, headers, proxy_url) as pooled,
        _session(one_by_one, headers, proxy_url) as fresh,
    ):
        yield Sessions(pooled, fresh)


def _session(
    connector: aiohttp.BaseConnector, headers: Mapping[str, str], proxy_url: str | None
) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        headers=headers,
        # aiohttp would call the missing body of a POST an octet stream.
        skip_auto_headers=("Content-Type",),
        trace_configs=[_tracing()],
        proxy=proxy_url,
        max_line_size=LARGEST_HEADER,
        max_field_size=LARGEST_HEADER,
    )


class _Names(AbstractResolver):
    """Our resolver, as aiohttp calls one."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, RESOLVE_SECONDS)
        return [
            ResolveResult(
                hostname=host,
                host=_scoped(address),
                port=port,
                family=kind,
                proto=proto,
                flags=socket.AI_NUMERICHOST,
            )
            for kind, _, proto, _, address in found
            if family in (socket.AF_UNSPEC, kind)
        ]

    async def close(self) -> None:
        """Close nothing."""


def _scoped(address: tuple[str, int] | tuple[str, int, int, int]) -> str:
    return f"{address[0]}%{address[3]}" if len(address) == 4 and address[3] else address[0]


class _Connector(aiohttp.TCPConnector):
    """Skips kept connections on which unrequested bytes came.

    aiohttp would take them for the answer to the next request, perhaps another user's: the rest of an answer
    longer than announced, or the 408 that a balancer sends before it closes an idle connection.
    """

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[aiohttp.tracing.Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's signature
    ) -> aiohttp.connector.Connection:
        while True:
            connection = await super().connect(req, traces, timeout)
            if connection.protocol is None or not connection.protocol.should_close:
                return connection
            connection.close()


def _tracing() -> aiohttp.TraceConfig:
    tracing = aiohttp.TraceConfig()
    tracing.on_dns_resolvehost_start.append(_mark_resolving)
    tracing.on_dns_resolvehost_end.append(_mark_resolved)
    tracing.on_connection_reuseconn.append(_mark_kept)
    tracing.on_request_headers_sent.append(_mark_sent)
    return tracing


async def _mark_resolving(_: aiohttp.ClientSession, context: types.SimpleNamespace, __: object) -> None:
    context.trace_request_ctx.resolving = True


async def _mark_resolved(_: aiohttp.ClientSession, context: types.SimpleNamespace, __: object) -> None:
    context.trace_request_ctx.resolving = False


async def _mark_sent(_: aiohttp.ClientSession, context: types.SimpleNamespace, __: object) -> None:
    context.trace_request_ctx.sent = True


async def _mark_kept(_: aiohttp.ClientSession, context: types.SimpleNamespace, __: object) -> None:
    context.trace_request_ctx.kept = True
