"""Parses request targets: which read or write each asks for, or the error that refuses it."""

import re
from typing import ClassVar, Final, cast, final
from urllib.parse import unquote, unquote_plus, urlsplit

import msgspec

from gateway.errors import Refused, Source
from gateway.model import (
    FAVORITES_PATH,
    PLAIN,
    RATINGS_PATH,
    Id,
    Kind,
    Variant,
    has_other_parameters,
    ratings_path,
)
from gateway.ratings.query import Part
from gateway.ratings.relay import RelayedRequest
from gateway.web.ids import KINDS, Ids, distinct_ids, invalid_ids, too_many_ids, unknown_type
from gateway.web.variant import read_parameters, refuse_parameters

MANY: Final = RATINGS_PATH + "/{type}"
ONE: Final = RATINGS_PATH + "/{type}/{id}"
SEVERAL: Final = RATINGS_PATH
FAVORITES: Final = FAVORITES_PATH
UNMATCHED: Final = "unmatched"
READS: Final = ("GET", "HEAD")
METHODS: Final = {
    MANY: ("GET",),
    ONE: ("GET", "PUT", "DELETE"),
    SEVERAL: ("POST",),
    FAVORITES: ("POST", "DELETE"),
}
"""HEAD is allowed where GET is."""


class ReadTarget(msgspec.Struct, frozen=True, gc=False):
    """A read of ids of one type."""

    route: str
    kind: Kind
    parts: tuple[Part, ...]
    """One, or none if every id is invalid."""
    id: Id | None = None
    """The id in the path, in the form with one id."""
    invalid: tuple[tuple[Kind, str], ...] = ()
    """Ids that cannot be of the type: errors of their own in a lenient answer, else of the whole request."""
    variant: Variant = PLAIN
    relay: RelayedRequest | None = None
    """What is sent to Apple if its answer is not a list of ratings; None if it has to be one.

    Other parameters may ask for such an answer. Not beside invalid ids: those neither go to Apple nor have an
    error of their own in what is relayed.
    """


class WriteTarget(msgspec.Struct, frozen=True):
    """A rating to be written or removed."""

    route: ClassVar[str] = ONE
    kind: Kind
    id: Id
    query: str
    """As it came."""


class FavoritesTarget(msgspec.Struct, frozen=True):
    """Favorites to be added or removed."""

    route: ClassVar[str] = FAVORITES
    kind: ClassVar[None] = None
    ids: tuple[tuple[Kind, Id], ...]
    """Those of the types that have ratings."""
    query: str
    """As it came."""


class SeveralTarget(msgspec.Struct, frozen=True):
    """A read whose types and ids are in the body."""

    route: ClassVar[str] = SEVERAL
    kind: ClassVar[None] = None


@final
class RefusedTarget(msgspec.Struct, frozen=True):
    """A target that cannot be served, and why; the request's other checks come first."""

    route: str
    """The template of its path, or `unmatched`."""
    kind: Kind | None
    refusal: Refused


Target = ReadTarget | WriteTarget | FavoritesTarget | SeveralTarget | RefusedTarget


class _Plain(msgspec.Struct, frozen=True):
    """The common form of a read: nothing but a list of ids of one type."""

    kind: Kind
    ids: re.Pattern[str]


_PLAIN: Final = {
    ratings_path(kind): _Plain(kind, re.compile(f"(?:{kind.id_pattern})(?:,(?:{kind.id_pattern}))*"))
    for kind in Kind
}


def bad_parameter(detail: str, parameter: str = "ids", code: str = "40005") -> Refused:
    """A 400 about a query parameter or header."""
    return Refused(400, code, "Invalid Parameter Value", detail, source=Source(parameter=parameter))


class TargetParser:
    """Parses request targets."""

    def __init__(self, *, max_ids: int) -> None:
        self._max_ids = max_ids

    def parse(self, method: str, raw: str) -> Target:
        """Parse the target of a request line; what is wrong with it makes it a `RefusedTarget`."""
        path, _, listed = raw.partition("?ids=")
        plain = _PLAIN.get(path)
        if plain is not None and method in READS and plain.ids.fullmatch(listed):
            # Each call of `Id` would cost more than its part of the pattern.
            ids = cast("list[Id]", listed.split(","))
            if len(set(ids)) == len(ids) <= self._max_ids:
                return ReadTarget(MANY, plain.kind, (Part(plain.kind, tuple(ids)),))
        return self._parse(method, raw)

    def _parse(self, method: str, raw: str) -> Target:
        route, kind = UNMATCHED, None
        try:
            path, _, query = _origin_form(raw).partition("?")
            route, segments = _route(path)
            name = unquote(segments[0]) if segments else ""
            kind = KINDS.get(name)
            _check_method(method, route)
            if route == SEVERAL:
                refuse_parameters(query)
                return SeveralTarget()
            if route == FAVORITES:
                return self._favorites(query)
            if kind is None:
                raise unknown_type(name)
            if route == MANY:
                return self._many(kind, query)
            return _one(method, kind, Id(unquote(segments[1])), query)
        except Refused as refusal:
            return RefusedTarget(route, kind, refusal)

    def _many(self, kind: Kind, query: str) -> ReadTarget:
        parameters = read_parameters(query)
        ids = self._ids(kind, parameters.ids)
        relayed = has_other_parameters(parameters.variant) and not ids.invalid
        return ReadTarget(
            MANY,
            kind,
            (Part(kind, ids.valid),) if ids.valid else (),
            invalid=tuple((kind, id_) for id_ in ids.invalid),
            variant=parameters.variant,
            relay=RelayedRequest(ratings_path(kind), query, lists_ids=True) if relayed else None,
        )

    def _ids(self, kind: Kind, values: tuple[str, ...]) -> Ids:
        if not values:
            raise bad_parameter("The parameter ids is required.", code="40003")
        ids = distinct_ids(kind, ",".join(values).split(","))
        if not len(ids):
            raise bad_parameter("The parameter ids contains no ids.")
        if len(ids) > self._max_ids:
            raise too_many_ids(len(ids), self._max_ids)
        return ids

    def _favorites(self, query: str) -> FavoritesTarget:
        named: dict[str, list[str]] = {}
        for piece in query.split("&"):
            raw_name, _, value = piece.partition("=")
            if found := _IDS_OF_TYPE.fullmatch(unquote_plus(raw_name)):
                named.setdefault(found[1], []).append(unquote_plus(value))
        favorites: list[tuple[Kind, Id]] = []
        count = 0
        for name, values in named.items():
            listed = ",".join(values).split(",")
            kind = KINDS.get(name)
            if kind is None:
                count += len({piece.strip() for piece in listed} - {""})
                continue
            ids = distinct_ids(kind, listed)
            if ids.invalid:
                raise invalid_ids(kind, ids.invalid, Source(parameter=f"ids[{name}]"))
            count += len(ids)
            favorites += [(kind, id_) for id_ in ids.valid]
        if not named:
            raise bad_parameter("Ids are required: ids[albums]=1,2 for example.", code="40003")
        if not count:
            raise bad_parameter("The parameter ids contains no ids.")
        if count > self._max_ids:
            raise too_many_ids(count, self._max_ids)
        return FavoritesTarget(tuple(favorites), query)


_IDS_OF_TYPE: Final = re.compile(r"ids\[([A-Za-z0-9-]{1,64})\]")


def _route(path: str) -> tuple[str, list[str]]:
    """The template that `path` matches, and the segments that fill it. Raises `Refused`."""
    trimmed = path.removesuffix("/")
    if trimmed in (SEVERAL, FAVORITES):
        return trimmed, []
    if not trimmed.startswith(RATINGS_PATH + "/"):
        raise _not_served(path)
    segments = trimmed[len(RATINGS_PATH) + 1 :].split("/")
    if len(segments) > 2 or not all(segments):
        raise _no_such_path(path)
    return MANY if len(segments) == 1 else ONE, segments


def _check_method(method: str, route: str) -> None:
    methods = METHODS[route]
    allowed = (*READS, *methods[1:]) if methods[0] == "GET" else methods
    if method not in allowed:
        raise Refused(
            405,
            "40500",
            "Method Not Allowed",
            f"{method} is not allowed here; allowed: {', '.join(allowed)}.",
            headers={"Allow": ", ".join(allowed)},
        )


def _one(method: str, kind: Kind, id_: Id, query: str) -> ReadTarget | WriteTarget:
    if not kind.admits(id_):
        raise invalid_ids(kind, [id_])
    parameters = read_parameters(query)
    if parameters.ids:
        raise bad_parameter("This route takes its id from the path, not from the parameter ids.")
    if method not in READS:
        return WriteTarget(kind, id_, query)
    relayed = has_other_parameters(parameters.variant)
    return ReadTarget(
        ONE,
        kind,
        (Part(kind, (id_,)),),
        id=id_,
        variant=parameters.variant,
        relay=RelayedRequest(ratings_path(kind, id_), query, lists_ids=False) if relayed else None,
    )


def _not_served(path: str) -> Refused:
    """Clients read a 404 as "nothing there", so paths of Apple's that are not served get another status."""
    if not path.startswith("/v1/"):
        return _no_such_path(path)
    detail = "This gateway serves only ratings and favorites; send other requests to Apple Music."
    return Refused(421, "42100", "Misdirected Request", detail)


def _no_such_path(path: str) -> Refused:
    return Refused(404, "40401", "No Such Path", f"There is nothing at {path[:200]}.")


def _origin_form(raw: str) -> str:
    """Proxies may send the whole URL as the target; only its path and query matter here."""
    malformed = Refused(400, "40000", "Bad Request", "The request target is not a well-formed URL.")
    if not raw.isascii() or "#" in raw:
        raise malformed
    if raw.startswith("/"):
        return raw
    try:
        parts = urlsplit(raw)
    except ValueError:
        raise malformed from None
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
