"""Parses request heads with aiohttp's own parser, within the bounds that its connections have.

A head is only acted upon if it is beyond doubt; aiohttp parses everything else again and answers it.
"""

import asyncio
import re
from typing import Final

from aiohttp import EMPTY_PAYLOAD, HttpVersion11, StreamReader, hdrs
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError

MAX_TARGET_BYTES: Final = 512 * 1024
MAX_HEADER_BYTES: Final = 16 * 1024
MAX_HEADERS: Final = 100
MAX_HEAD_BYTES: Final = MAX_TARGET_BYTES + 4 * MAX_HEADER_BYTES
"""A longer head that is still incomplete goes to aiohttp, whose parser enforces the exact bounds."""
END_OF_HEAD: Final = b"\r\n\r\n"
_CR: Final = 13
_METHOD: Final = re.compile(rb"[A-Z]{1,16}(?: |\Z)")

_NEVER_FULL: Final = 2**30
"""Bytes that a body may buffer before the parser pauses: it is drained after each piece."""


class ReceiveBuffer(bytearray):
    """Bytes that wait: part of a head, or what was sent behind the request that is being answered."""

    __slots__ = ("_searched", "paused")

    def __init__(self) -> None:
        super().__init__()
        self.paused = False
        """Whether reading was paused because of them."""
        self._searched = 0
        """How many bytes were scanned without an end of the head, or a reason to rule one out."""

    def pause(self, transport: asyncio.Transport | None) -> None:
        """Read no more if bytes wait."""
        if self and transport is not None:
            self.paused = True
            transport.pause_reading()

    def resume(self, transport: asyncio.Transport | None) -> None:
        """Read on."""
        if self.paused and transport is not None:
            self.paused = False
            transport.resume_reading()

    def take(self, size: int) -> bytes:
        """Remove the first bytes."""
        data = bytes(self[:size])
        del self[:size]
        self._searched = 0
        return data

    def take_head(self) -> bytes | None:
        """Remove a complete head; None if there is none yet."""
        end = self.find(END_OF_HEAD, max(0, self._searched - 3))
        return None if end < 0 else self.take(end + len(END_OF_HEAD))

    def may_become_head(self) -> bool:
        """Whether more bytes may complete this to a head. Checks what was added since the last call."""
        checked, self._searched = self._searched, len(self)
        if len(self) > MAX_HEAD_BYTES or (not checked and not _METHOD.match(self)):
            return False
        start = checked - 1 if checked and self[checked - 1] == _CR else checked
        lines = self.count(b"\r\n", start)
        returns = self.count(b"\r", start) - self.endswith(b"\r")
        return lines == returns == self.count(b"\n", start)


class HeadParser:
    """Parses complete heads, one at a time."""

    def __init__(self) -> None:
        self._parser: HttpRequestParser | None = None

    def parse(self, head: bytes) -> tuple[RawRequestMessage, int | None] | None:
        """The request, and how many bytes its body has (None: chunked). None: leave it to aiohttp."""
        parser = self._parser or _parser()
        # It is kept only if it is ready for the next head: not after an error, an upgrade, or the last
        # request of a connection, and not if it waits for a body.
        self._parser = None
        try:
            messages, _, _ = parser.feed_data(head)
        except HttpProcessingError:
            return None
        if len(messages) != 1:
            return None
        message, payload = messages[0]
        if message.should_close or message.method == hdrs.METH_CONNECT or message.version != HttpVersion11:
            return None
        if payload is EMPTY_PAYLOAD:
            self._parser = None if message.upgrade else parser
            return message, 0
        return message, None if message.chunked else int(message.headers["Content-Length"])


class BodyCheck:
    """Parses a chunked body beside aiohttp, because aiohttp does not report where one breaks."""

    def __init__(self) -> None:
        self._parser = _parser()
        self._payload: StreamReader | None = None

    def _is_complete(self) -> bool:
        return self._payload is not None and self._payload.is_eof()

    def feed(self, data: bytes) -> HttpProcessingError | None:
        """What is wrong with the request, as far as it was received; `data` begins with its head.

        What follows its body is another request's.
        """
        if self._is_complete():
            return None
        try:
            messages, _, _ = self._parser.feed_data(data)
        except HttpProcessingError as error:
            return None if self._is_complete() else error
        if messages and self._payload is None:
            self._payload = messages[0][1]
        if self._payload is not None:
            self._payload.read_nowait()
        return None


def _parser() -> HttpRequestParser:
    loop = asyncio.get_running_loop()
    return HttpRequestParser(
        BaseProtocol(loop),
        loop,
        _NEVER_FULL,
        max_line_size=MAX_TARGET_BYTES,
        max_field_size=MAX_HEADER_BYTES,
        max_headers=MAX_HEADERS,
        auto_decompress=False,
    )
