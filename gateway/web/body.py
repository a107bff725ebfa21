"""Request bodies: read within bounds of size and time, and decoded. A JSON pointer says what is wrong."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_exceptions import HTTPRequestEntityTooLarge
from aiohttp.web_protocol import RequestPayloadError

from gateway.errors import Refused, Source
from gateway.expect_header import send_continue
from gateway.model import NORMALISED, Kind, Variant
from gateway.ratings.query import Part
from gateway.web.ids import distinct_ids, invalid_ids, read_kind, too_many_ids
from gateway.web.variant import normal_variant

MAX_BODY_BYTES: Final = 2 * 1024 * 1024
"""10,000 of the longest ids fit into one body."""

MAX_PARAMETER_CHARACTERS: Final = 32 * 1024
"""Of `include`, `extend` and `l` together: all that Apple knows fits many times over."""


class Several(msgspec.Struct, frozen=True):
    """What `POST /v1/me/ratings` asks for."""

    parts: tuple[Part, ...]
    variant: Variant
    invalid: Sequence[tuple[Kind, str]]
    """Ids that cannot be of their type."""
    refusal: Refused | None
    """The error for the first of them, which is the request's unless it is lenient."""


async def read_body(request: web.BaseRequest, *, seconds: float) -> bytes:
    """The whole body, as it was sent.

    Raises `Refused`: 413 if it is too large, 415 if it is compressed, 504 if it does not arrive within
    `seconds`, 400 if it cannot be read.
    """
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding != "identity":
        raise Refused(
            415,
            "41500",
            "Unsupported Media Type",
            "Compressed bodies are not supported; send the body as it is.",
        )
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise _too_large()
    send_continue(request)
    try:
        async with asyncio.timeout(seconds):
            return await request.read()
    except HTTPRequestEntityTooLarge:
        raise _too_large() from None
    except TimeoutError:
        raise Refused(
            504,
            "50400",
            "Gateway Timeout",
            "The body did not arrive within the time that the request allows.",
        ) from None
    except (web.PayloadAccessError, ClientPayloadError, RequestPayloadError, HttpProcessingError) as error:
        raise bad_body(f"The body could not be read: {type(error).__name__}.", "") from None
    except ConnectionError:
        raise bad_body("The caller left before the body had arrived.", "") from None


def _too_large() -> Refused:
    return Refused(413, "41300", "Payload Too Large", f"A body may have at most {MAX_BODY_BYTES:,} bytes.")


def bad_body(detail: str, pointer: str, code: str = "40006") -> Refused:
    """A 400 about a part of the body."""
    return Refused(400, code, "Invalid Request Body", detail, source=Source(pointer=pointer))


def read_rating(body: bytes) -> int:
    """The value that a PUT's body asks for; `type` may be `rating`, `ratings` or absent. Raises `Refused`."""
    wanted = _object(body)
    if wanted.get("type", "rating") not in ("rating", "ratings"):
        raise bad_body('The type must be "rating".', "/type")
    attributes = wanted.get("attributes")
    if not isinstance(attributes, dict):
        raise bad_body("The body needs attributes with a value.", "/attributes")
    value = attributes.get("value")
    if type(value) is not int or value not in (1, -1):
        raise bad_body("The value must be the integer 1 (like) or -1 (dislike).", "/attributes/value")
    return value


def read_several(body: bytes, *, max_ids: int) -> Several:
    """The ids by type, and the variant, that `POST /v1/me/ratings` asks for. Raises `Refused`."""
    wanted = _object(body)
    for name in wanted.keys() - {"ids", *NORMALISED}:
        raise bad_body(f"Unknown member; known: ids, {', '.join(NORMALISED)}.", _pointer(name))
    language = wanted.get("l", "")
    if not isinstance(language, str):
        raise bad_body("The language must be a string.", "/l")
    include = _strings(wanted.get("include", []), "/include")
    extend = _strings(wanted.get("extend", []), "/extend")
    _check_length({"include": sum(map(len, include)), "extend": sum(map(len, extend)), "l": len(language)})
    variant = normal_variant(include=include, extend=extend, language=language)
    return _read_ids(wanted.get("ids"), variant, max_ids)


def _check_length(characters: Mapping[str, int]) -> None:
    """Refuse parameters that are too long: they are sent to Apple with each batch of ids."""
    total = sum(characters.values())
    if total > MAX_PARAMETER_CHARACTERS:
        longest = max(characters, key=characters.__getitem__)
        detail = (
            f"{', '.join(NORMALISED)} have {total:,} characters together; at most "
            f"{MAX_PARAMETER_CHARACTERS:,} are sent to Apple. {longest} is the longest of them; shorten it."
        )
        raise bad_body(detail, _pointer(longest))


def _read_ids(ids: Any, variant: Variant, max_ids: int) -> Several:
    if not isinstance(ids, dict):
        raise bad_body("The body needs ids: lists of ids by type.", "/ids")
    parts: list[Part] = []
    invalid: list[tuple[Kind, str]] = []
    refusal = None
    count = 0
    for name, listed in ids.items():
        pointer = _pointer("ids", name)
        kind = read_kind(name, Source(pointer=pointer))
        distinct = distinct_ids(kind, _strings(listed, pointer))
        count += len(distinct)
        if distinct.valid:
            parts.append(Part(kind, distinct.valid))
        if distinct.invalid:
            invalid += [(kind, id_) for id_ in distinct.invalid]
            refusal = refusal or invalid_ids(kind, distinct.invalid, Source(pointer=pointer))
    if not count:
        raise bad_body("The body contains no ids.", "/ids", code="40005")
    if count > max_ids:
        raise too_many_ids(count, max_ids, Source(pointer="/ids"))
    return Several(tuple(parts), variant, tuple(invalid), refusal)


def _strings(listed: Any, pointer: str) -> list[str]:
    if not isinstance(listed, list):
        raise bad_body("This must be a list of strings.", pointer)
    for index, item in enumerate(listed):
        if not isinstance(item, str):
            raise bad_body("This must be a string.", f"{pointer}/{index}")
    return listed


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise bad_body("The body is not valid JSON.", "") from None
    if not isinstance(decoded, dict):
        raise bad_body("The body must be an object.", "")
    return decoded


def _pointer(*names: str) -> str:
    """An RFC 6901 pointer; long names are cut, because errors are read by people."""
    return "".join("/" + name[:80].replace("~", "~0").replace("/", "~1") for name in names)
