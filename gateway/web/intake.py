"""The body of a request, read within bounds of size and time."""

import asyncio

from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_exceptions import HTTPRequestEntityTooLarge
from aiohttp.web_protocol import RequestPayloadError

from gateway.errors import Refused
from gateway.web.body import bad_body

MAX_BODY_BYTES = 2 * 1024 * 1024
"""10,000 of the longest ids fit into one body."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


async def read_body(request: web.BaseRequest, *, seconds: float) -> bytes:
    """The whole body, as it was sent, if it comes within `seconds`.

    Raises `Refused`: 413 where it is too large, 415 where it is compressed, 504 where it is slow to come, 400
    where it cannot be read.
    """
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding != "identity":
        raise Refused(415, "41500", "Unsupported Media Type", "A body may not be compressed.")
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise _too_large()
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(CONTINUE)
    try:
        async with asyncio.timeout(seconds):
            return await request.read()
    except HTTPRequestEntityTooLarge:
        raise _too_large() from None
    except TimeoutError:
        raise Refused(
            504, "50400", "Gateway Timeout", "The body did not come within the time that the request allows."
        ) from None
    except (web.PayloadAccessError, ClientPayloadError, RequestPayloadError, HttpProcessingError) as error:
        raise bad_body(f"The body could not be read: {type(error).__name__}.", "") from None
    except ConnectionError:
        raise bad_body("The caller has gone before the body had come.", "") from None


def _too_large() -> Refused:
    return Refused(413, "41300", "Payload Too Large", f"A body may have {MAX_BODY_BYTES} bytes.")
