"""HTTP exchanges with Apple over aiohttp, whose errors become ours here.

No cookies are kept, no redirects followed, and nothing is repeated here: see `caller`.
"""

import asyncio
import socket
import types
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Final, TypeVar

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from gateway import __version__
from gateway.apple.response import AppleResponse, http_date, retry_after
from gateway.clock import Clock
from gateway.errors import Unreachable, Unusable
from gateway.resolver import ResolutionError, Resolver

T = TypeVar("T")

LARGEST_BODY: Final = 4 * 1024 * 1024
"""Bytes of an answer, decompressed: several times 300 ratings with their relationships."""

LARGE_BODY: Final = 64 * 1024
"""Bytes beyond which an answer is read in a thread; reading so many takes a few milliseconds."""

LARGEST_HEADER: Final = 32 * 1024
"""Bytes of one header line of an answer; cookies and content security policies reach 15 KiB."""

KEEPALIVE_SECONDS: Final = 30.0

RESOLVE_SECONDS: Final = 2.0
"""For a name; the lookup goes on, and the next attempt joins it."""

_NO_HEADERS: Final[Mapping[str, str]] = {}


class Transport:
    """Sends one request and reads its answer to the end."""

    def __init__(
        self,
        pooled: aiohttp.ClientSession,
        fresh: aiohttp.ClientSession,
        base_url: str,
        clock: Clock,
        parser: ThreadPoolExecutor,
    ) -> None:
        self._pooled = pooled
        self._fresh = fresh
        self._parser = parser
        self._base_url = base_url.rstrip("/")
        self._clock = clock

    async def exchange(
        self,
        method: str,
        target: str,
        *,
        developer_token: str,
        user_token: str | None,
        body: bytes | None,
        timeout: float,  # noqa: ASYNC109 - the whole exchange, and part of what `Unreachable` says
        headers: Mapping[str, str] = _NO_HEADERS,
        fresh: bool = False,
    ) -> AppleResponse:
        """Send `target` (path and query as on the wire) and read the answer, within `timeout` seconds.

        `headers` are added to what every request has; `fresh` sends it on a new connection. Raises
        `Unreachable` where no whole answer came, `Unusable` where it is too large.
        """
        sent = {"Authorization": f"Bearer {developer_token}", **headers}
        if user_token is not None:
            sent["Music-User-Token"] = user_token
        if body is not None:
            sent["Content-Type"] = "application/json"
        progress = _Progress()
        with _foreign_errors(progress):
            async with (
                asyncio.timeout(timeout),
                (self._fresh if fresh else self._pooled).request(
                    method,
                    URL(self._base_url + target, encoded=True),
                    data=body,
                    headers=sent,
                    allow_redirects=False,
                    trace_request_ctx=progress,
                    middlewares=(progress.send_once,),
                ) as response,
            ):
                progress.answered = True
                return AppleResponse(
                    response.status,
                    await _read(response),
                    retry_after(response.headers.get("Retry-After"), self._clock.time()),
                    http_date(response.headers.get("Date")),
                )

    async def parse(self, read: Callable[[AppleResponse], T], answer: AppleResponse) -> T:
        """Return `read(answer)`; a large answer is read in a thread, so that others are served meanwhile."""
        if len(answer.body) <= LARGE_BODY:
            return read(answer)
        return await asyncio.get_running_loop().run_in_executor(self._parser, read, answer)


@asynccontextmanager
async def connect(
    *,
    base_url: str,
    origin: str | None,
    max_concurrency: int,
    clock: Clock,
    proxy_url: str | None = None,
    resolver: Resolver | None = None,
) -> AsyncIterator[Transport]:
    """A transport with a pool of connections of its own, through the proxy if one is given.

    `proxy_url` may hold user and password. The environment's proxies and `.netrc` are not read here.
    """
    headers = {"Accept": "application/json", "User-Agent": f"ratings-gateway/{__version__}"}
    if origin is not None:
        headers["Origin"] = origin
    names = _Names(resolver or Resolver())
    # Where one kept connection is dead, the others in the pool often are too: a repeat must not use them.
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
        # One thread: several would leave the event loop less of the interpreter.
        parser = ThreadPoolExecutor(max_workers=1, thread_name_prefix="parse")
        try:
            yield Transport(pooled, fresh, base_url, clock, parser)
        finally:
            parser.shutdown(wait=False)


def _session(
    connector: aiohttp.BaseConnector, headers: Mapping[str, str], proxy_url: str | None
) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        headers=headers,
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
        """Nothing is open."""


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


class _Progress:
    """How far one exchange has come."""

    __slots__ = ("answered", "kept", "resolving", "sent")

    def __init__(self) -> None:
        self.resolving = False
        self.sent = False
        self.kept = False
        self.answered = False

    async def send_once(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        # aiohttp sends GET, PUT and DELETE again by itself when a kept connection breaks: on the next kept
        # one, and conditional writes too. The error becomes ours before aiohttp sees it; `caller` decides.
        with _foreign_errors(self):
            return await handler(request)

    @property
    def timed_out(self) -> str:
        """The RFC 9209 error type of a timeout at this point."""
        if self.sent:
            return "http_response_timeout"
        return "dns_timeout" if self.resolving else "connection_timeout"


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


async def _read(response: aiohttp.ClientResponse) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > LARGEST_BODY:
            raise _too_large(response)
        chunks.append(chunk)
    body = b"".join(chunks)
    # RFC 9110 section 8.4.1.3: the same as gzip, which aiohttp unpacks by itself.
    if response.headers.get("Content-Encoding", "").strip().lower() == "x-gzip":
        return _unpacked(body, response)
    return body


def _unpacked(body: bytes, response: aiohttp.ClientResponse) -> bytes:
    unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        unpacked = unpacking.decompress(body, LARGEST_BODY + 1)
    except zlib.error:
        raise aiohttp.ClientPayloadError("not gzip") from None
    if len(unpacked) > LARGEST_BODY:
        raise _too_large(response)
    if not unpacking.eof:
        raise aiohttp.ClientPayloadError("gzip without its end")
    return unpacked


def _too_large(response: aiohttp.ClientResponse) -> Unusable:
    return Unusable("Apple Music's answer is too large.", received_status=response.status)


_FAULTS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (aiohttp.ClientConnectorDNSError, "dns_error"),
    (aiohttp.ClientHttpProxyError, "destination_unavailable"),
    (aiohttp.ClientConnectorCertificateError, "tls_certificate_error"),
    (aiohttp.ClientSSLError, "tls_protocol_error"),
    (aiohttp.ClientConnectorError, "destination_unavailable"),
    (aiohttp.ClientPayloadError, "http_response_incomplete"),
    (aiohttp.ClientConnectionError, "connection_terminated"),
    (OSError, "connection_terminated"),
    (aiohttp.ClientError, "http_protocol_error"),
)
"""The first that fits names the RFC 9209 error type."""


@contextmanager
def _foreign_errors(progress: _Progress) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise _unreachable(progress.timed_out, progress) from error
    except (aiohttp.ClientError, OSError) as error:
        raise _unreachable(_kind(error), progress) from error


def _kind(error: BaseException) -> str:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else None
    if isinstance(cause, ConnectionRefusedError):
        return "connection_refused"
    if isinstance(cause, ResolutionError):
        return cause.kind
    return next(kind for fault, kind in _FAULTS if isinstance(error, fault))


def _unreachable(kind: str, progress: _Progress) -> Unreachable:
    return Unreachable(
        f"Apple Music could not be reached: {kind.replace('_', ' ')}.",
        proxy_error=kind,
        sent=progress.sent,
        kept=progress.kept and not progress.answered and kind == "connection_terminated",
    )
