"""The `Expect` header: a caller may wait for `100 Continue` before it sends the body of its request."""

from typing import Final

from aiohttp import web

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


def send_continue(request: web.BaseRequest) -> None:
    """Ask for the body, if the caller waits for that (RFC 9110, section 10.1.1)."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(_CONTINUE)
