"""The `Expect` header: a caller may wait for `100 Continue` before it sends the body of its request."""

from typing import Final

from aiohttp import HttpVersion11, web

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


def send_continue(request: web.BaseRequest) -> None:
    """Ask for the body, if the caller waits for that (RFC 9110, section 10.1.1)."""
    if _expects_continue(request) and request.transport is not None:
        request.transport.write(_CONTINUE)


def may_withhold_body(request: web.BaseRequest) -> bool:
    """Whether the caller may never send the body, because its answer comes without `100 Continue`."""
    return _expects_continue(request) and not request.content.is_eof()


def _expects_continue(request: web.BaseRequest) -> bool:
    # Callers of HTTP/1.0 would take an interim answer for the answer.
    return request.headers.get("Expect", "").lower() == "100-continue" and request.version >= HttpVersion11
