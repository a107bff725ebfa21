"""Renders answers and errors as status, headers and body, and as the bytes that are written."""

import math
import random
import string
import time
from http import HTTPStatus
from typing import Final

import msgspec

from gateway.apple.client import AppleSuccess
from gateway.errors import AppleError, GatewayError, Refused, UpstreamError
from gateway.model import Id
from gateway.ratings.query import Answer, CacheOutcome, Failure

READ_CACHE_CONTROL: Final = "private, no-cache, max-age=0"
"""A caller's own cache would not learn of writes, so it must revalidate; some clients honour only max-age."""
ERROR_CACHE_CONTROL: Final = "no-store"
VARY: Final = "Music-User-Token, Media-User-Token"
CONTENT_TYPE: Final = "Content-Type: application/json\r\n"

_READ_HEAD: Final = f"{CONTENT_TYPE}Cache-Control: {READ_CACHE_CONTROL}\r\nVary: {VARY}\r\n"
_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}
_ERROR_ID: Final = string.ascii_uppercase + string.digits
_NO_CONTENT: Final = 204


class Reply(msgspec.Struct, frozen=True):
    """Status, headers and body; `head` holds complete header lines."""

    status: int
    head: str
    body: bytes
    cache_status: str = ""


class WholeResponse:
    """An answer as the bytes that are written at once. aiohttp's response objects cost more than a cache hit.

    `bodiless`: the answer to a HEAD, which has the length of the body but not the body.
    """

    __slots__ = ("keep_alive", "status", "whole")

    def __init__(
        self, status: int, head: str, body: bytes, *, keep_alive: bool, bodiless: bool = False
    ) -> None:
        self.status = status
        self.keep_alive = keep_alive
        length = "" if status == _NO_CONTENT else f"Content-Length: {len(body)}\r\n"
        close = "" if keep_alive else "Connection: close\r\n"
        self.whole = (
            f"HTTP/1.1 {status} {_REASONS.get(status, '')}\r\n{head}Date: {_date()}\r\n{length}{close}\r\n"
        ).encode() + (b"" if bodiless else body)


def answer_reply(answer: Answer, *, lenient: bool) -> Reply:
    """Render a read. Resources are joined as they are stored; nothing is decoded."""
    line = cache_status(answer)
    head = _read_head(line, answer.age)
    if lenient:
        head += "Preference-Applied: handling=lenient\r\n"
    if not answer.failures:
        return Reply(200, head, b'{"data":[%b]}' % answer.resources, line)
    errors = msgspec.json.encode([_missing(failure) for failure in answer.failures])
    return Reply(200, head, b'{"data":[%b],"errors":%b}' % (answer.resources, errors), line)


def failed_reply(answer: Answer) -> Reply:
    """Render a read that fails as a whole, with the error of the first id in the order asked."""
    line = "" if answer.outcome is CacheOutcome.HIT else cache_status(answer)
    return error_reply(answer.failures[0].error, line)


def one_reply(answer: Answer, id_: Id, *, lenient: bool) -> Reply:
    """Render a read of one id that did not fail. Like Apple's, the answer is 404 if it is unrated."""
    reply = answer_reply(answer, lenient=lenient)
    if answer.resources:
        return reply
    unrated = Refused(404, "40400", "Resource Not Found", f"There is no rating for {id_}.")
    head = reply.head.replace(READ_CACHE_CONTROL, ERROR_CACHE_CONTROL)
    return Reply(404, head, error_reply(unrated).body, reply.cache_status)


def unrated_reply(body: bytes, line: str) -> Reply:
    """Pass on Apple's answer that nothing is rated: an answer, not a failure."""
    head = _read_head(line, 0.0).replace(READ_CACHE_CONTROL, ERROR_CACHE_CONTROL)
    return Reply(404, head, body, line)


def success_reply(success: AppleSuccess, outcome: CacheOutcome) -> Reply:
    """Pass on what Apple answered to a write, or to a read whose answer is not cached."""
    line = forwarded(outcome)
    head = _read_head(line, 0.0)
    if success.status == _NO_CONTENT or not success.body:
        # Apple's 202 is empty too; clients parse what is called JSON.
        return Reply(success.status, head.removeprefix(CONTENT_TYPE), b"", line)
    return Reply(success.status, head, success.body, line)


def forwarded(outcome: CacheOutcome) -> str:
    """The RFC 9211 line of a request that the cache did not answer."""
    return f"ratings-gateway; fwd={outcome}"


def _read_head(line: str, age: float) -> str:
    return f"{_READ_HEAD}Cache-Status: {line}\r\nAge: {int(age)}\r\n"


def cache_status(answer: Answer) -> str:
    """The RFC 9211 line of a read."""
    outcome, counts = answer.outcome, answer.counts
    cached = f"local={counts.local} shared={counts.shared}"
    detail = f'detail="{cached} upstream={counts.upstream} stale={counts.stale}"'
    if outcome is CacheOutcome.HIT:
        return f"ratings-gateway; hit; ttl={math.floor(answer.ttl)}; {detail}"
    if outcome is CacheOutcome.BYPASS:
        return forwarded(outcome)
    line = forwarded(outcome)
    if outcome is CacheOutcome.STALE:
        if answer.upstream_status is not None:
            line += f"; fwd-status={answer.upstream_status}"
        return f"{line}; {detail}"
    if answer.stored:
        line += "; stored"
    if counts.collapsed:
        line += "; collapsed"
    return f"{line}; {detail}"


def error_reply(error: GatewayError, line: str = "") -> Reply:
    """Render a failure: Apple's own body if it is an error envelope, else an envelope of the same shape.

    `line` is its `Cache-Status`, empty if neither the cache nor Apple was asked.
    """
    headers = {"Content-Type": "application/json", "Cache-Control": ERROR_CACHE_CONTROL, "Vary": VARY}
    if isinstance(error, Refused):
        headers |= error.headers
    if isinstance(error, UpstreamError):
        headers["Proxy-Status"] = proxy_status(error)
    if error.status in (429, 503):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after or 1)))
    if line:
        headers["Cache-Status"] = line
    head = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if isinstance(error, AppleError) and error.enveloped:
        return Reply(error.status, head, error.body, line)
    return Reply(error.status, head, msgspec.json.encode({"errors": [envelope(error)]}), line)


def envelope(error: GatewayError) -> dict[str, object]:
    """One error object in Apple's shape."""
    shown: dict[str, object] = {
        "id": "".join(random.choices(_ERROR_ID, k=26)),  # noqa: S311 - not a secret
        "title": error.title,
        "detail": error.detail,
        "status": str(error.status),
        "code": error.code,
    }
    if isinstance(error, Refused) and error.source is not None:
        source = error.source
        shown["source"] = (
            {"parameter": source.parameter} if source.pointer is None else {"pointer": source.pointer}
        )
    return shown


def proxy_status(error: UpstreamError) -> str:
    """The RFC 9209 line of a failure that Apple, or the connection to it, caused."""
    line = "ratings-gateway"
    if error.proxy_error is not None:
        line += f"; error={error.proxy_error}"
    if error.received_status is not None:
        line += f"; received-status={error.received_status}"
    return line


def answer_label(answer: Answer) -> str:
    """The `cache` label of the duration histogram."""
    outcome, counts = answer.outcome, answer.counts
    if outcome is CacheOutcome.REQUEST:
        return "partial" if counts.local or counts.shared else "miss"
    return outcome


def _missing(failure: Failure) -> dict[str, object]:
    return envelope(failure.error) | {
        "source": {"parameter": "ids"},
        "meta": {"type": failure.kind.value, "id": failure.id},
    }


class _Date:
    """The `Date` header, formatted once a second."""

    second = 0
    text = ""


def _date() -> str:
    now = int(time.time())
    if now != _Date.second:
        _Date.second = now
        _Date.text = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(now))
    return _Date.text
