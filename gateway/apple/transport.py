"""HTTP exchanges with Apple over aiohttp, whose errors become ours here.

No cookies are kept, no redirects followed, and nothing is repeated here: see `caller`.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Final, TypeVar

import aiohttp
from aiohttp import ClientHttpProxyError
from yarl import URL

from gateway.apple.answer_reader import AnswerReader
from gateway.apple.response import AppleResponse, http_date, retry_after
from gateway.apple.session import Sessions, open_sessions
from gateway.clock import Clock
from gateway.errors import Unreachable, Unusable
from gateway.resolver import ResolutionError, Resolver

T = TypeVar("T")

LARGEST_BODY: Final = 4 * 1024 * 1024
"""Bytes of an answer, decompressed: several times 300 ratings with their relationships."""


class Transport:
    """Sends one request and reads its answer to the end."""

    def __init__(
        self,
        sessions: Sessions,
        base_url: str,
        clock: Clock,
        reader: AnswerReader,
    ) -> None:
        self._sessions = sessions
        self.read = reader.read
        """Reads an answer without holding up the event loop: see `AnswerReader`."""
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
        headers: Mapping[str, str],
        fresh: bool = False,
    ) -> AppleResponse:
        """Send `target` (path and query as on the wire) and read the answer, within `timeout` seconds.

        `headers` are added to what every request has; `fresh` sends it on a new connection. Raises
        `Unreachable` if no whole answer came, `Unusable` if it is too large.
        """
        progress = _ExchangeProgress()
        session = self._sessions.fresh if fresh else self._sessions.pooled
        with _foreign_errors(progress):
            async with (
                asyncio.timeout(timeout),
                session.request(
                    method,
                    URL(self._base_url + target, encoded=True),
                    data=body,
                    headers=_headers(developer_token, user_token, body, headers),
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
    """A transport with a pool of connections of its own, through the proxy if one is given."""
    async with open_sessions(
        origin=origin,
        max_concurrency=max_concurrency,
        proxy_url=proxy_url,
        resolver=resolver or Resolver(),
    ) as sessions:
        with AnswerReader() as reader:
            yield Transport(sessions, base_url, clock, reader)


class _ExchangeProgress:
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


def _headers(
    developer_token: str, user_token: str | None, body: bytes | None, more: Mapping[str, str]
) -> dict[str, str]:
    headers = {"Authorization": f"Bearer {developer_token}", **more}
    if user_token is not None:
        headers["Music-User-Token"] = user_token
    if body is not None:
        headers["Content-Type"] = "application/json"
    return headers


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
    return Unusable("Apple Music's answer is too large.", received_status=response.status, too_large=True)


_FAULTS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (aiohttp.ClientConnectorDNSError, "dns_error"),
    (ClientHttpProxyError, "destination_unavailable"),
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
def _foreign_errors(progress: _ExchangeProgress) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise _unreachable(progress.timed_out, progress) from error
    except (aiohttp.ClientError, OSError) as error:
        # Of a proxy's answer only the number: the reason phrase is its own text.
        detail = f"the proxy answered {error.status}" if isinstance(error, ClientHttpProxyError) else ""
        raise _unreachable(_kind(error), progress, detail) from error


def _kind(error: BaseException) -> str:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else None
    if isinstance(cause, ConnectionRefusedError):
        return "connection_refused"
    if isinstance(cause, ResolutionError):
        return cause.kind
    return next(kind for fault, kind in _FAULTS if isinstance(error, fault))


def _unreachable(kind: str, progress: _ExchangeProgress, detail: str = "") -> Unreachable:
    unanswered = kind == "http_response_timeout"
    return Unreachable(
        "Apple Music did not answer in time."
        if unanswered
        else f"Apple Music could not be reached: {detail or kind.replace('_', ' ')}.",
        proxy_error=kind,
        sent=progress.sent,
        kept=progress.kept and not progress.answered and kind == "connection_terminated",
    )
