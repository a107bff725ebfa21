"""An answer written in one piece: building aiohttp's response objects costs more than a hit does."""

import time
from http import HTTPStatus

from aiohttp import ClientConnectionResetError, web

_REASONS = {status.value: status.phrase for status in HTTPStatus}


class WholeResponse(web.StreamResponse):
    """Head and body in one write; aiohttp keeps the connection as `keep_alive` says.

    `bodiless` is the answer to a HEAD: its length is told, the body is not sent.
    """

    def __init__(
        self, status: int, head: str, body: bytes, *, keep_alive: bool, bodiless: bool = False
    ) -> None:
        # Nothing of the base's own state is used, so none is made.
        self._status = status
        self._keep_alive = keep_alive
        self.whole = (
            f"HTTP/1.1 {status} {_REASONS.get(status, '')}\r\n{head}"
            f"Date: {_date()}\r\n"
            f"{'' if status == _NO_CONTENT else f'Content-Length: {len(body)}{_END}'}"
            f"{'' if keep_alive else _CLOSE}\r\n"
        ).encode() + (b"" if bodiless else body)

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write the answer; wait while the buffer is full, so that a slow reader fills no memory."""
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("The caller has gone.")
        transport.write(self.whole)
        if request.protocol.writing_paused:
            await request.writer.drain()

    async def write_eof(self, data: bytes = b"") -> None:
        """Everything was written by `prepare`."""


_NO_CONTENT = 204
_END = "\r\n"
_CLOSE = "Connection: close\r\n"


class _Date:
    """The `Date` header, made once a second."""

    second = 0
    text = ""


def _date() -> str:
    now = int(time.time())
    if now != _Date.second:
        _Date.second = now
        _Date.text = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(now))
    return _Date.text
