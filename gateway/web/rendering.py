"""Answers and errors to status, headers and body."""

import math
import random
import string

import msgspec

from gateway.apple.client import Relay
from gateway.errors import GatewayError, Refused, Relayed, UpstreamError
from gateway.model import Id
from gateway.ratings.query import Answer, CacheOutcome, Failure

JSON = "application/json"
READ_CACHE_CONTROL = "private, no-cache"
"""A caller's own cache would not hear of writes, so it must ask each time."""
ERROR_CACHE_CONTROL = "no-store"


class Reply(msgspec.Struct, frozen=True):
    """What goes back to a caller: `head` holds whole header lines, each ended."""

    status: int
    head: str
    body: bytes
    cache_status: str = ""


def answer_reply(answer: Answer, *, lenient: bool) -> Reply:
    """Render a read. Fragments are joined as they are stored; nothing is decoded on the way."""
    line = cache_status(answer)
    head = _read_head(line) + f"Age: {int(answer.age)}\r\n"
    if lenient:
        head += "Preference-Applied: handling=lenient\r\n"
    if not answer.failures:
        return Reply(200, head, b'{"data":[%b]}' % answer.listed, line)
    errors = msgspec.json.encode([_missing(failure) for failure in answer.failures])
    return Reply(200, head, b'{"data":[%b],"errors":%b}' % (answer.listed, errors), line)


def failed_reply(answer: Answer) -> Reply:
    """Render a read that fails as a whole, with the error of the first id in the order asked."""
    line = "" if answer.forward is CacheOutcome.HIT else cache_status(answer)
    return error_reply(answer.failures[0].error, line)


def one_reply(answer: Answer, id_: Id, *, lenient: bool) -> Reply:
    """Render a read of one id that did not fail: Apple answers 404 where it is unrated."""
    reply = answer_reply(answer, lenient=lenient)
    if answer.listed:
        return reply
    unrated = Refused(404, "40400", "Resource Not Found", f"There is no rating for {id_}.")
    head = reply.head.replace(READ_CACHE_CONTROL, ERROR_CACHE_CONTROL)
    return Reply(404, head, error_reply(unrated).body, reply.cache_status)


def relayed_reply(relay: Relay, forward: CacheOutcome) -> Reply:
    """Pass on what Apple answered to a write or to a request that bypassed the cache."""
    line = forwarded(forward)
    return Reply(relay.status, _read_head(line) + "Age: 0\r\n", relay.body, line)


def forwarded(forward: CacheOutcome) -> str:
    """The RFC 9211 line of a request that was never looked up in the cache."""
    return f"ratings-gateway; fwd={forward}"


def _read_head(line: str) -> str:
    return (
        f"Content-Type: application/json\r\nCache-Control: {READ_CACHE_CONTROL}\r\n"
        f"Vary: Music-User-Token\r\nCache-Status: {line}\r\n"
    )


def cache_status(answer: Answer) -> str:
    """The RFC 9211 line of a read."""
    forward, tally = answer.forward, answer.tally
    detail = (
        f'detail="local={tally.local} shared={tally.shared} upstream={tally.upstream} stale={tally.stale}"'
    )
    if forward is CacheOutcome.HIT:
        return f"ratings-gateway; hit; ttl={math.floor(answer.ttl)}; {detail}"
    if forward is CacheOutcome.BYPASS:
        return forwarded(forward)
    line = forwarded(forward)
    if forward is CacheOutcome.STALE:
        if answer.upstream_status is not None:
            line += f"; fwd-status={answer.upstream_status}"
        return f"{line}; {detail}"
    if answer.stored:
        line += "; stored"
    if tally.collapsed:
        line += "; collapsed"
    return f"{line}; {detail}"


def error_reply(error: GatewayError, line: str = "") -> Reply:
    """Render a failure: Apple's own answer where it is JSON, else an envelope of the same shape.

    `line` is its `Cache-Status`; requests that got as far as neither cache nor Apple have none.
    """
    headers = {"Content-Type": JSON, "Cache-Control": ERROR_CACHE_CONTROL, "Vary": "Music-User-Token"}
    if isinstance(error, Refused):
        headers |= error.headers
    if isinstance(error, UpstreamError):
        headers["Proxy-Status"] = proxy_status(error)
    if error.status in (429, 503):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after or 1)))
    if line:
        headers["Cache-Status"] = line
    head = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if isinstance(error, Relayed) and _is_json_object(error.body):
        return Reply(error.status, head, error.body, line)
    return Reply(error.status, head, msgspec.json.encode({"errors": [envelope(error)]}), line)


def envelope(error: GatewayError) -> dict[str, object]:
    """One error object in Apple's shape."""
    shown: dict[str, object] = {
        "id": "".join(random.choices(_ERROR_ID, k=26)),  # noqa: S311 - tells errors apart, guards nothing
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
    """The RFC 9209 line of a failure that Apple, or the way to it, caused."""
    line = "ratings-gateway"
    if error.proxy_error is not None:
        line += f"; error={error.proxy_error}"
    if error.received_status is not None:
        line += f"; received-status={error.received_status}"
    return line


def answer_label(answer: Answer) -> str:
    """The `cache` label of the duration histogram."""
    forward, tally = answer.forward, answer.tally
    if forward is CacheOutcome.REQUEST:
        return "partial" if tally.local or tally.shared else "miss"
    return forward


def _missing(failure: Failure) -> dict[str, object]:
    return envelope(failure.error) | {
        "source": {"parameter": "ids"},
        "meta": {"type": failure.kind.value, "id": failure.id},
    }


def _is_json_object(body: bytes) -> bool:
    if not body.lstrip().startswith(b"{"):
        return False
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


_ERROR_ID = string.ascii_uppercase + string.digits
