"""Request targets to routes, ids and variants. A target that is refused carries its error."""

import re
from typing import Final, cast
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
from gateway.web.ids import Ids, distinct_ids, invalid_ids, read_kind, too_many_ids
from gateway.web.variant import Parameters, read_parameters, refuse_parameters

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


class Target(msgspec.Struct, frozen=True, gc=False):
    """What a request target asks for."""

    route: str
    """The template of its path, or `unmatched`."""
    kind: Kind | None = None
    id: Id | None = None
    parts: tuple[Part, ...] = ()
    invalid: tuple[str, ...] = ()
    """Ids that cannot be of the type: errors of their own in a lenient answer, else of the whole request."""
    variant: Variant = PLAIN
    relayable: bool = False
    """Whether Apple's answer, if it is not a list of ratings, may be relayed.

    Other parameters may ask for such an answer. Not beside invalid ids: those neither go to Apple nor have an
    error of their own in what is relayed.
    """
    favorites: tuple[tuple[Kind, Id], ...] = ()
    path: str = ""
    """As it is sent to Apple, if it is relayed."""
    query: str = ""
    """As it came."""
    refusal: Refused | None = None
    """Why the request cannot be served, if its target alone says so."""


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
        """Parse the target of a request line; what is wrong with it is the target's `refusal`."""
        path, _, listed = raw.partition("?ids=")
        plain = _PLAIN.get(path)
        if plain is not None and method in READS and plain.ids.fullmatch(listed):
            # Each call of `Id` would cost more than its part of the pattern.
            ids = cast("list[Id]", listed.split(","))
            if len(set(ids)) == len(ids) <= self._max_ids:
                return Target(MANY, plain.kind, parts=(Part(plain.kind, tuple(ids)),))
        return self._parse(method, raw)

    def _parse(self, method: str, raw: str) -> Target:
        target = Target(UNMATCHED)
        try:
            path, _, query = _origin_form(raw).partition("?")
            target = route(path, query)
            _check_method(method, target)
            if target.refusal is not None:
                return target
            if target.route == SEVERAL:
                refuse_parameters(query)
                return target
            if target.route == FAVORITES:
                return self._favorites(target)
            parameters = read_parameters(target.query)
            if target.route == ONE and parameters.ids:
                raise bad_parameter("This route takes its id from the path, not from the parameter ids.")
            return self._read(target, parameters) if method in READS else target
        except Refused as refusal:
            return msgspec.structs.replace(target, refusal=refusal.anew())

    def _read(self, target: Target, parameters: Parameters) -> Target:
        assert target.kind is not None
        ids = self._ids(target.kind, parameters.ids) if target.id is None else Ids((target.id,))
        return msgspec.structs.replace(
            target,
            parts=(Part(target.kind, ids.valid),) if ids.valid else (),
            invalid=ids.invalid,
            variant=parameters.variant,
            relayable=has_other_parameters(parameters.variant) and not ids.invalid,
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

    def _favorites(self, target: Target) -> Target:
        named: dict[str, list[str]] = {}
        for piece in target.query.split("&"):
            raw_name, _, value = piece.partition("=")
            if found := _IDS_OF_TYPE.fullmatch(unquote_plus(raw_name)):
                named.setdefault(found[1], []).append(unquote_plus(value))
        favorites: list[tuple[Kind, Id]] = []
        count = 0
        for name, values in named.items():
            listed = ",".join(values).split(",")
            if name not in _KINDS:
                count += len({piece.strip() for piece in listed} - {""})
                continue
            kind = Kind(name)
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
        return msgspec.structs.replace(target, favorites=tuple(favorites))


_KINDS: Final = frozenset(kind.value for kind in Kind)
_IDS_OF_TYPE: Final = re.compile(r"ids\[([A-Za-z0-9-]{1,64})\]")


def route(path: str, query: str) -> Target:
    """The route that `path` names; an unknown type or id is its `refusal`. Raises `Refused`."""
    trimmed = path.removesuffix("/")
    if trimmed == SEVERAL:
        return Target(SEVERAL, path=SEVERAL, query=query)
    if trimmed == FAVORITES:
        return Target(FAVORITES, path=FAVORITES, query=query)
    if not trimmed.startswith(RATINGS_PATH + "/"):
        raise _not_served(path)
    segments = trimmed[len(RATINGS_PATH) + 1 :].split("/")
    if len(segments) > 2 or not all(segments):
        raise _no_such_path(path)
    template = MANY if len(segments) == 1 else ONE
    try:
        kind = read_kind(unquote(segments[0]))
    except Refused as refusal:
        return Target(template, refusal=refusal.anew())
    if template == MANY:
        return Target(MANY, kind, path=ratings_path(kind), query=query)
    id_ = Id(unquote(segments[1]))
    if not kind.admits(id_):
        return Target(ONE, kind, refusal=invalid_ids(kind, [id_]))
    return Target(ONE, kind, id_, path=ratings_path(kind, id_), query=query)


def _check_method(method: str, target: Target) -> None:
    methods = METHODS[target.route]
    allowed = (*READS, *methods[1:]) if methods[0] == "GET" else methods
    if method not in allowed:
        raise Refused(
            405,
            "40500",
            "Method Not Allowed",
            f"{method} is not allowed here; allowed: {', '.join(allowed)}.",
            headers={"Allow": ", ".join(allowed)},
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
