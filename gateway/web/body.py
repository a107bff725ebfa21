"""Request bodies to values; a pointer says which part of one is wrong."""

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.errors import Refused, Source
from gateway.model import Variant
from gateway.ratings.query import Part
from gateway.web.target import (
    MAX_VARIANT_LENGTH,
    VARIANT_PARAMETERS,
    distinct_ids,
    normal_variant,
    read_kind,
)


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
    if isinstance(value, bool) or value not in (1, -1):
        raise bad_body("The value must be 1 (like) or -1 (dislike).", "/attributes/value")
    return int(value)


def read_parts(body: bytes, *, max_ids: int) -> tuple[tuple[Part, ...], Variant]:
    """The ids by kind, and the variant, that `POST /v1/me/ratings` asks for. Raises `Refused`."""
    wanted = _object(body)
    for name in wanted.keys() - VARIANT_PARAMETERS - {"ids"}:
        raise bad_body(
            f"Unknown member; known: ids, {', '.join(sorted(VARIANT_PARAMETERS))}.", _pointer(name)
        )
    parts = _parts(wanted.get("ids"))
    count = sum(len(part.ids) for part in parts)
    if not count:
        raise bad_body("The body names no id.", "/ids", code="40005")
    if count > max_ids:
        raise bad_body(f"{count} distinct ids; at most {max_ids} are served at once.", "/ids", code="40005")
    language = wanted.get("l", "")
    if not isinstance(language, str):
        raise bad_body("The language must be a string.", "/l")
    variant = normal_variant(
        include=_strings(wanted.get("include", []), "/include"),
        extend=_strings(wanted.get("extend", []), "/extend"),
        language=language,
    )
    if len(variant) > MAX_VARIANT_LENGTH:
        raise bad_body(f"include, extend and l together may have {MAX_VARIANT_LENGTH} characters.", "")
    return parts, variant


def _parts(ids: Any) -> tuple[Part, ...]:
    if not isinstance(ids, dict):
        raise bad_body("The body needs ids: lists of ids by type.", "/ids")
    parts = []
    for name, listed in ids.items():
        pointer = _pointer("ids", name)
        kind = read_kind(name, Source(pointer=pointer))
        if distinct := distinct_ids(kind, _strings(listed, pointer), pointer):
            parts.append(Part(kind, distinct))
    return tuple(parts)


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
