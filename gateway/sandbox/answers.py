"""Apple's answers: ratings, and the errors that are documented or were observed. Pure."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from random import Random
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.model import Kind

_ERROR_ID_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_PHRASES = {int(status): status.phrase for status in HTTPStatus}
_HTML = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>"


_JSON = MappingProxyType({"Content-Type": "application/json"})


class SandboxAnswer(msgspec.Struct, frozen=True):
    """A status, a body, and the headers that go with it."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = _JSON


class Problem(msgspec.Struct, frozen=True):
    """One error of Apple's envelope, without its id."""

    status: int
    code: str
    title: str
    detail: str
    source: Mapping[str, str] | None = None
    headers: Mapping[str, str] = {}


RESOURCE_NOT_FOUND = Problem(404, "40400", "Resource Not Found", "Resource with requested id was not found")
INVALID_AUTHENTICATION = Problem(403, "40300", "Forbidden", "Invalid authentication")
NO_SUBSCRIPTION = Problem(
    400, "40015", "No Active Subscription", "The user has no active Apple Music subscription"
)
MISSING_IDS = Problem(
    400, "40003", "Missing Parameter", "The request has no ids parameter", {"parameter": "ids"}
)
EMPTY_IDS = Problem(
    400, "40005", "Invalid Parameter Value", "The ids parameter is empty", {"parameter": "ids"}
)
UNAUTHORIZED = SandboxAnswer(401, headers={})
"""Observed with an empty body and `Content-Length: 0`."""
TESTED = SandboxAnswer(200, headers={})
"""To `GET /v1/test` with a good developer token: an empty body."""
ACCEPTED = SandboxAnswer(202, headers={})
"""To a favorite: accepted, without a body."""
NONE_RATED = SandboxAnswer(200, b'{"data":[]}')


def too_many_ids(limit: int, asked: int) -> Problem:
    detail = f"At most {limit} ids are accepted, got {asked}"
    return Problem(400, "40005", "Invalid Parameter Value", detail, {"parameter": "ids"})


def invalid_ids(kind: Kind, ids: Iterable[str]) -> Problem:
    detail = f"Invalid {kind} ids: {', '.join(ids)}"
    return Problem(400, "40005", "Invalid Parameter Value", detail, {"parameter": "ids"})


def invalid_language(status: int) -> Problem:
    detail = "The l parameter names no localization"
    return Problem(status, f"{status}05", "Invalid Parameter Value", detail, {"parameter": "l"})


def invalid_path_id(kind: Kind, id_: str) -> Problem:
    return Problem(400, "40008", "Invalid Path Value", f"{id_!r} is not an id of {kind}")


def unknown_type(text: str) -> Problem:
    return Problem(400, "40008", "Invalid Path Value", f"Unknown resource type '{text}'")


def invalid_body(detail: str, pointer: str) -> Problem:
    return Problem(400, "40006", "Invalid Request Body", detail, {"pointer": pointer})


def method_not_allowed(allowed: str) -> Problem:
    return Problem(405, "40500", "Method Not Allowed", f"Allowed here: {allowed}", headers={"Allow": allowed})


def generic(status: int) -> Problem:
    """Apple's error for a status that has no specific one."""
    known = {problem.status: problem for problem in (RESOURCE_NOT_FOUND, INVALID_AUTHENTICATION)}
    title = _phrase(status)
    return known.get(status) or Problem(status, f"{status}00", title, f"The request failed: {title}")


def refusal(problem: Problem, random: Random) -> SandboxAnswer:
    """Apple's envelope around one error, with an id of 26 upper-case letters and digits."""
    error: dict[str, object] = {
        "id": "".join(random.choices(_ERROR_ID_ALPHABET, k=26)),
        "title": problem.title,
        "detail": problem.detail,
        "status": str(problem.status),
        "code": problem.code,
    }
    if problem.source:
        error["source"] = problem.source
    body = msgspec.json.encode({"errors": [error]})
    return SandboxAnswer(problem.status, body, {"Content-Type": "application/json", **problem.headers})


def html(status: int) -> SandboxAnswer:
    """An HTML answer, as from a proxy in front of Apple."""
    text = _HTML.format(f"{status} {_phrase(status)}")
    return SandboxAnswer(status, text.encode(), {"Content-Type": "text/html"})


def no_errors(status: int) -> SandboxAnswer:
    """Apple's envelope with nothing in it, as was seen once with a 404."""
    return SandboxAnswer(status, b'{"errors":[]}')


def capacity(status: int) -> SandboxAnswer:
    """A body without Apple's envelope, observed once with a 429."""
    return SandboxAnswer(status, b'{"message":"API capacity exceeded"}')


def ratings(kind: Kind, values: Mapping[str, int]) -> bytes:
    """A `RatingsResponse` in the order of `values`."""
    return (
        '{"data":[' + ",".join([_resource(kind, id_, value) for id_, value in values.items()]) + "]}"
    ).encode()


def ratings_with_content(kind: Kind, values: Mapping[str, int], language: str | None) -> bytes:
    """The same with `relationships.content`, whose names contain the requested language."""
    data = [
        {**msgspec.json.decode(_resource(kind, id_, value)), "relationships": _content(kind, id_, language)}
        for id_, value in values.items()
    ]
    return msgspec.json.encode({"data": data})


def _phrase(status: int) -> str:
    return _PHRASES.get(status, "Unknown")


def _resource(kind: Kind, id_: str, value: int) -> str:
    return (
        f'{{"attributes":{{"value":{value}}},"href":"/v1/me/ratings/{kind.value}/{id_}",'
        f'"id":"{id_}","type":"ratings"}}'
    )


def _content(kind: Kind, id_: str, language: str | None) -> dict[str, Any]:
    plain = kind.removeprefix("library-")
    shelf = "/v1/catalog/us/" if plain == kind else "/v1/me/library/"
    name = f"{plain} {id_}" + (f" ({language})" if language else "")
    content = {"id": id_, "type": kind, "href": f"{shelf}{plain}/{id_}", "attributes": {"name": name}}
    return {"content": {"href": f"/v1/me/ratings/{kind}/{id_}/content", "data": [content]}}
