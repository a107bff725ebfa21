"""Parsing of request heads, with aiohttp's own parser and the bounds that its connections have.

A head is only acted upon if it is beyond doubt; aiohttp parses everything else again and answers it.
"""

import asyncio
import re
from typing import Final

from aiohttp import EMPTY_PAYLOAD, HttpVersion11, StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError

MAX_TARGET_BYTES: Final = 512 * 1024
MAX_HEADER_BYTES: Final = 16 * 1024
MAX_HEADERS: Final = 100

_NEVER_FULL: Final = 2**30
"""Bytes that a body may buffer before the parser pauses: it is drained after each piece."""


class HeadParser:
    """Parses complete heads, one at a time."""

    def __init__(self) -> None:
        self._parser = _parser()

    def parse(self, head: bytes) -> tuple[RawRequestMessage, int | None] | None:
        """The request, and how many bytes its body has (None: chunked). None: leave it to aiohttp."""
        try:
            messages, upgraded, _ = self._parser.feed_data(head)
        except HttpProcessingError:
            self._parser = _parser()
            return None
        if len(messages) != 1 or upgraded:
            self._parser = _parser()
            return None
        message, payload = messages[0]
        if payload is EMPTY_PAYLOAD:
            length: int | None = 0
        else:
            # It now waits for the body.
            self._parser = _parser()
            length = None if message.chunked else int(message.headers["Content-Length"])
        if message.should_close or message.upgrade or message.version != HttpVersion11:
            return None
        return message, length


class BodyCheck:
    """Parses a chunked body beside aiohttp, because aiohttp does not report where one breaks."""

    def __init__(self) -> None:
        self._parser = _parser()
        self._payload: StreamReader | None = None

    def feed(self, data: bytes) -> HttpProcessingError | None:
        """What is wrong with the request, as far as it was received; `data` begins with its head."""
        try:
            messages, _, _ = self._parser.feed_data(data)
        except HttpProcessingError as error:
            return error
        if messages and self._payload is None:
            self._payload = messages[0][1]
        if self._payload is not None:
            self._payload.read_nowait()
        return None


def may_begin_head(received: bytearray, checked: int) -> bool:
    """Whether more bytes may complete what was received to a head; `checked` of them were judged before."""
    if not checked and not _METHOD.match(received):
        return False
    start = checked - 1 if checked and received[checked - 1] == _CR else checked
    lines = received.count(b"\r\n", start)
    returns = received.count(b"\r", start) - received.endswith(b"\r")
    return lines == returns == received.count(b"\n", start)


_CR: Final = 13
_METHOD: Final = re.compile(rb"[A-Z]{1,16}(?: |\Z)")


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
