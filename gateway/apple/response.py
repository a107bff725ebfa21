"""Reads Apple's answers: pure functions of status and body that trust nothing.

A rating, and above all "unrated", is concluded only from a sound answer:
- a 200 whose `data` is a list of ratings for ids that were asked, with no `next` and no `errors`, or
- a 404 with Apple's envelope in which every error has the code 40400.
Every other answer is Apple's own error (`AppleError`) or no answer of its API (`Unusable`).
"""

import re
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal, NoReturn

import msgspec

from gateway.apple import strict_json
from gateway.errors import AppleError, Unusable, UpstreamError
from gateway.model import Id, Kind, Rating, ratings_path

NOT_FOUND: Final = "40400"
"""The code by which Apple says that nothing is rated."""

LARGEST_ENVELOPE: Final = 256 * 1024
"""Bytes of errors. They are read more than once, and by the event loop; a thousand errors fit."""

LONGEST_RETRY_AFTER: Final = 86_400.0
"""Seconds. A longer wait is a mistake at Apple's, and callers would keep to it."""


class AppleResponse(msgspec.Struct, frozen=True):
    """One HTTP answer of Apple's, read to its end."""

    status: int
    body: bytes
    retry_after: float | None = None
    """Seconds; None if Apple named none."""
    date: float | None = None
    """Epoch seconds, from the `Date` header."""


def read_many(kind: Kind, asked: Sequence[Id], answer: AppleResponse) -> dict[Id, Rating]:
    """Read an answer of the form with many ids: every id of `asked`, in that order, None if it is unrated.

    Raises `AppleError` if Apple answered an error, `Unusable` if the answer is not sound.
    """
    found: dict[Id, Rating] = dict.fromkeys(asked)
    if answer.status == 200:
        plain = _read_plain(kind, found, answer.body)
        found.update(plain if plain is not None else _read_closely(kind, found, answer.body))
    elif not _says_none_rated(answer):
        raise failure_of(answer)
    return found


def written_resource(kind: Kind, id_: Id, value: int, body: bytes) -> Rating:
    """The resource that a PUT of `value`, answered with success and `body`, left behind.

    Apple's own if the body contains it, a plain one if the body mentions no rating; None if the body
    contradicts the write, so that the rating is uncertain.
    """
    if len(body) > LARGEST_ENVELOPE:
        return None
    if _says_nothing(body):
        return value
    try:
        resource = read_many(kind, (id_,), AppleResponse(200, body))[id_]
    except UpstreamError:
        return None
    rated = _RATED.decode(resource).attributes.value if isinstance(resource, bytes) else resource
    return resource if rated == value else None


def _says_nothing(body: bytes) -> bool:
    """Whether a success holds neither ratings nor errors: then its status is all that Apple says."""
    try:
        document = strict_json.load(body) if body else {}
    except ValueError:
        return False
    if not isinstance(document, dict):
        return True
    # With `format[resources]=map` the rating is in `resources`, where it is not looked for.
    listed = document.get("data") and not document.get("resources")
    return not (listed or document.get("errors"))


def failure_of(answer: AppleResponse, *, deletes: bool = False) -> UpstreamError:
    """The error that an unsuccessful answer is; `deletes`: it answers a DELETE.

    Only Apple's envelope is relayed; for anything else (HTML, nothing, `{"errors":[]}`) the gateway supplies
    one. Callers read a 404 as "unrated", so that one which is not Apple's "unrated" must not look like it.
    """
    if not 400 <= answer.status <= 599:
        return Unusable(
            f"Apple Music answered {answer.status}, which is not valid for this request.",
            received_status=answer.status,
        )
    errors = _errors(answer.body)
    if answer.status == 404 and not _all_unrated(errors):
        if deletes:
            return AppleError(404, b"", code="40402")
        return Unusable(
            "Apple Music answered 404 without the error code 40400 that means unrated.", received_status=404
        )
    code = errors[0].get("code") if errors else None
    return AppleError(
        answer.status,
        answer.body if errors else b"",
        code=code if isinstance(code, str) and _CODE.fullmatch(code) else None,
        blamed=_blamed(errors),
        retry_after=answer.retry_after,
    )


def check_json(answer: AppleResponse) -> None:
    """Check that a success to be relayed is JSON or empty. Raises `Unusable`."""
    try:
        if answer.body:
            strict_json.load(answer.body)
    except ValueError:
        raise Unusable("Apple Music's answer is not JSON.", received_status=answer.status) from None


def http_date(text: str | None) -> float | None:
    """Epoch seconds of a `Date` header; None if missing or malformed."""
    try:
        return None if text is None else parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None


def retry_after(text: str | None, now: float) -> float | None:
    """Seconds that a `Retry-After` of either form asks to wait, at most a day; None if malformed.

    `now` is in epoch seconds.
    """
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_RETRY_AFTER)
    date = http_date(text)
    return None if date is None else min(max(0.0, date - now), LONGEST_RETRY_AFTER)


class _Value(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    value: Literal[1, -1]


class _PlainRating(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    id: Id
    type: Literal["ratings"]
    href: str
    attributes: _Value


class _PlainAnswer(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    data: list[_PlainRating]


class _RawAnswer(msgspec.Struct):
    data: list[msgspec.Raw]


class _AnyValue(msgspec.Struct):
    value: int


class _AnyRating(msgspec.Struct):
    attributes: _AnyValue


_PLAIN = msgspec.json.Decoder(_PlainAnswer)
_RAW = msgspec.json.Decoder(_RawAnswer)
_RAW_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_RATED = msgspec.json.Decoder(_AnyRating)
_CODE = re.compile(r"[!-~]{1,64}")
"""Codes are logged and rendered again, so they must be short and plain: JSON can escape invalid UTF-8."""
_QUOTES = 16
"""Quotation marks of one plain rating: five names and three texts."""


def _read_plain(kind: Kind, asked: Mapping[Id, object], body: bytes) -> dict[Id, Rating] | None:
    """Read a body that holds nothing but plain ratings, each once; None if it needs the full check.

    The usual answer by far: 20 µs for 25 ratings, while the full check takes 80. msgspec does not see that a
    name appears twice in an object, but the number of quotation marks reveals it.
    """
    try:
        ratings = _PLAIN.decode(body).data
    except (ValueError, RecursionError):
        return None
    if body.count(b'"') != 2 + _QUOTES * len(ratings) or b"\\" in body:
        return None
    found: dict[Id, Rating] = {}
    path = f"{ratings_path(kind)}/"
    for rating in ratings:
        id_ = rating.id
        if id_ not in asked or rating.href != path + id_:
            return None
        found[id_] = rating.attributes.value
    return found if len(found) == len(ratings) else None


def _read_closely(kind: Kind, asked: Mapping[Id, object], body: bytes) -> dict[Id, Rating]:
    """Read any 200; raises `Unusable` unless it is sound."""
    try:
        document = strict_json.load(body)
    except ValueError:
        _unusable("is not JSON, or too complex")
    if not isinstance(document, dict):
        _unusable("is not a list of ratings", other_shape=True)
    if document.get("next") is not None or document.get("errors") is not None:
        _unusable("is not the whole answer")
    # With `format[resources]=map` the list has names only, and the ratings are beside it.
    if not isinstance(document.get("data"), list) or document.get("resources") is not None:
        _unusable("is not a list of ratings", other_shape=True)
    try:
        raws = _RAW.decode(body).data
    except (ValueError, RecursionError):
        _unusable("is not JSON, or too complex")
    found: dict[Id, Rating] = {}
    for item, raw in zip(document["data"], raws, strict=True):
        id_, resource = _read_rating(kind, asked, item, bytes(raw))
        if found.setdefault(id_, resource) != resource:
            _unusable("contradicts itself")
    return found


def _says_none_rated(answer: AppleResponse) -> bool:
    return answer.status == 404 and _all_unrated(_errors(answer.body))


def _all_unrated(errors: list[dict[str, Any]]) -> bool:
    return bool(errors) and all(error.get("code") == NOT_FOUND for error in errors)


def _blamed(errors: list[dict[str, Any]]) -> str | None:
    """What the errors name as their source: `ids` if any names it, by parameter or pointer."""
    named: str | None = None
    for error in errors:
        source = error.get("source")
        if isinstance(source, dict):
            parameter, pointer = source.get("parameter"), str(source.get("pointer", ""))
            if parameter == "ids" or "ids" in pointer.split("/"):
                return "ids"
            named = named or str(parameter or pointer) or None
    return named


def _read_rating(kind: Kind, asked: Mapping[Id, object], item: Any, raw: bytes) -> tuple[Id, Rating]:
    if not isinstance(item, dict) or item.get("type") != "ratings":
        _unusable("holds a resource that is not a rating", other_shape=True)
    named = item.get("id")
    if not isinstance(named, str):
        _unusable("holds a rating without an id")
    id_ = Id(named if named in asked else named.removeprefix("r."))
    if id_ not in asked:
        _unusable("holds an id that was not asked for")
    attributes = item.get("attributes", {})
    if not isinstance(attributes, dict):
        _unusable("holds a rating without readable attributes")
    if "value" not in attributes:
        return id_, None
    value = attributes["value"]
    if type(value) is not int or value not in {1, -1}:
        _unusable("holds a rating that is neither 1 nor -1")
    path = f"{ratings_path(kind)}/"
    ours = item.get("href") in {path + id_, path + named}
    if ours and len(attributes) == 1 and item.keys() == {"id", "type", "href", "attributes"}:
        return id_, value
    return id_, raw if named == id_ else _renamed(raw, id_, path + id_ if ours else None)


def _renamed(raw: bytes, id_: Id, href: str | None) -> bytes:
    """The resource under the id that was asked for; every other byte of its fields as Apple sent it."""
    fields = _RAW_FIELDS.decode(raw)
    fields["id"] = msgspec.Raw(msgspec.json.encode(id_))
    if href is not None:
        fields["href"] = msgspec.Raw(msgspec.json.encode(href))
    return msgspec.json.encode(fields)


def _unusable(why: str, *, other_shape: bool = False) -> NoReturn:
    raise Unusable(f"Apple Music's answer {why}.", received_status=200, other_shape=other_shape)


def _errors(body: bytes) -> list[dict[str, Any]]:
    """The errors of Apple's envelope; none if the body is not an envelope."""
    if len(body) > LARGEST_ENVELOPE:
        return []
    try:
        document = strict_json.load(body)
    except ValueError:
        return []
    errors = document.get("errors") if isinstance(document, dict) else None
    if isinstance(errors, list) and all(isinstance(error, dict) for error in errors):
        return errors
    return []
