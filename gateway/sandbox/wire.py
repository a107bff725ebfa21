"""Parses HTTP requests, and sends answers: whole, truncated, slowly, or not at all."""

import socket
import struct
from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway.model import Kind
from gateway.sandbox.answers import SandboxAnswer
from gateway.sandbox.api import Favorites, RatingsRequest
from gateway.sandbox.faults import SlowBody, Truncate

Sleep = Callable[[float], Awaitable[object]]

_KINDS = {str(kind): kind for kind in Kind}
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class NoAnswer(web.Response):
    """Placeholder for an answer that was not sent, because the connection is gone."""


def parsed(http: web.Request, body: bytes) -> RatingsRequest:
    """Parse a request; `ids` may be repeated, with blanks around ids and empty pieces."""
    parameters = http.rel_url.query
    path = http.match_info
    given = parameters.getall("ids", [])
    id_ = path.get("id")
    pieces = (id_,) if id_ is not None else (piece.strip() for text in given for piece in text.split(","))
    return RatingsRequest(
        method="GET" if http.method == "HEAD" else http.method,
        type=path["type"],
        kind=_KINDS.get(path["type"]),
        id=id_,
        ids=tuple(piece for piece in pieces if piece),
        has_ids=bool(given),
        include=frozenset(name for text in parameters.getall("include", ()) for name in text.split(",")),
        language=parameters.get("l"),
        user_token=user_token(http),
        body=body,
    )


def user_token(http: web.Request) -> str | None:
    """The user token under either of its names; web clients send only the second."""
    headers = http.headers
    return headers.get("Music-User-Token") or headers.get("Media-User-Token")


def favorites(http: web.Request) -> Favorites:
    """Parse a request to `/v1/me/favorites?ids[albums]=1,2&ids[songs]=3`."""
    return Favorites(
        method=http.method,
        ids=tuple(
            (name.removeprefix("ids[").removesuffix("]"), piece.strip())
            for name, text in http.rel_url.query.items()
            if name.startswith("ids[") and name.endswith("]")
            for piece in text.split(",")
            if piece.strip()
        ),
        user_token=user_token(http),
    )


def other_parameters(http: web.Request) -> str:
    """Every parameter except for ids, sorted, as `name=value&…`."""
    given = http.rel_url.query.items()
    return "&".join(
        sorted(f"{name}={value}" for name, value in given if name != "ids" and not name.startswith("ids["))
    )


def whole(answer: SandboxAnswer) -> web.Response:
    return web.Response(status=answer.status, body=answer.body, headers=answer.headers)


async def truncated(http: web.Request, answer: SandboxAnswer, effect: Truncate) -> web.StreamResponse:
    """Send the first part of the body; if Content-Length promises more, close the connection."""
    body = answer.body[: int(len(answer.body) * effect.keep)]
    if effect.honest:
        return whole(SandboxAnswer(answer.status, body, answer.headers))
    response = await _opened(http, answer)
    response.force_close()
    await response.write(body)
    return response


async def slow(
    http: web.Request, answer: SandboxAnswer, effect: SlowBody, sleep: Sleep
) -> web.StreamResponse:
    """Send the headers at once, then the body in equal pieces, the last after `effect.seconds`."""
    response = await _opened(http, answer)
    size = -(-len(answer.body) // effect.pieces) or 1
    for start in range(0, len(answer.body), size):
        await sleep(effect.seconds / effect.pieces)
        await response.write(answer.body[start : start + size])
    await response.write_eof()
    return response


def reset(http: web.Request) -> NoAnswer:
    """Reset the connection."""
    transport = http.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()
    return NoAnswer()


async def _opened(http: web.Request, answer: SandboxAnswer) -> web.StreamResponse:
    headers = {**answer.headers, "Content-Length": str(len(answer.body))}
    response = web.StreamResponse(status=answer.status, headers=headers)
    await response.prepare(http)
    return response
