"""Request targets to values; whatever is refused names the part that is at fault."""

from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import msgspec

from gateway.errors import Refused, Source
from gateway.model import PLAIN, Id, Kind, Variant
from gateway.ratings.query import Part

ROOT = "/v1/me/ratings"
READ_PARAMETERS = frozenset({"ids", "include", "extend", "l"})
VARIANT_PARAMETERS = frozenset({"include", "extend", "l"})
MAX_VARIANT_LENGTH = 2048
MEMOISED_LENGTH = 1024
"""Longer targets are parsed anew each time, so that the memo stays small."""


class Target(msgspec.Struct, frozen=True, gc=False):
    """A request target that names a route: `route` is its template."""

    route: str
    kind: Kind | None = None
    id: Id | None = None
    parts: tuple[Part, ...] = ()
    variant: Variant = PLAIN
    bypass: bool = False
    """A query parameter that the cache knows nothing of: the request goes to Apple as it is."""
    path: str = ""
    query: str = ""
    refusal: Refused | None = None
    """Why the request cannot be served, where its target alone says so."""


_TYPE = Source(parameter="type")

MANY = ROOT + "/{type}"
ONE = ROOT + "/{type}/{id}"
SEVERAL = ROOT
UNMATCHED = "unmatched"
METHODS = {MANY: ("GET",), ONE: ("GET", "PUT", "DELETE"), SEVERAL: ("POST",)}


def bad_parameter(detail: str, parameter: str = "ids", code: str = "40005") -> Refused:
    """A 400 about a query parameter or header."""
    return Refused(400, code, "Invalid Parameter Value", detail, source=Source(parameter=parameter))


class TargetParser:
    """Parses request targets; those of usual length are remembered, because callers repeat themselves."""

    def __init__(self, *, max_ids: int) -> None:
        self._max_ids = max_ids
        self._memo = lru_cache(maxsize=1024)(self._parse)

    def parse(self, method: str, raw: str) -> Target:
        """Parse the target of a request line; what is wrong with it is the target's `refusal`."""
        if len(raw) <= MEMOISED_LENGTH:
            return self._memo(method, raw)
        return self._parse(method, raw)

    def _parse(self, method: str, raw: str) -> Target:
        path, _, query = _origin_form(raw).partition("?")
        target = Target(UNMATCHED)
        try:
            target = route(path, query)
            return self._accept(method, target)
        except Refused as refusal:
            # What was raised holds every frame down to the connection, and this is remembered.
            return msgspec.structs.replace(target, refusal=refusal.anew())

    def _accept(self, method: str, target: Target) -> Target:
        allowed = METHODS[target.route]
        if method not in allowed:
            raise Refused(
                405,
                "40500",
                "Method Not Allowed",
                f"{method} is not allowed here; allowed: {', '.join(allowed)}.",
                headers={"Allow": ", ".join(allowed)},
            )
        if target.refusal is not None:
            return target
        if target.route == SEVERAL:
            refuse_parameters(target.query)
            return target
        if method != "GET":
            return target
        return self._read(target)

    def _read(self, target: Target) -> Target:
        assert target.kind is not None
        pairs = parse_qsl(target.query, keep_blank_values=True)
        names = {name for name, _ in pairs}
        known = READ_PARAMETERS if target.id is None else VARIANT_PARAMETERS
        languages = [value for name, value in pairs if name == "l"]
        if not names <= known or len(languages) > 1:
            return msgspec.structs.replace(target, bypass=True)
        variant = normal_variant(
            include=(value for name, value in pairs if name == "include"),
            extend=(value for name, value in pairs if name == "extend"),
            language="".join(languages),
        )
        if len(variant) > MAX_VARIANT_LENGTH:
            return msgspec.structs.replace(target, bypass=True)
        if target.id is not None:
            return msgspec.structs.replace(target, parts=(Part(target.kind, (target.id,)),), variant=variant)
        if "ids" not in names:
            raise bad_parameter("The parameter ids is required.", code="40003")
        listed = ",".join(value for name, value in pairs if name == "ids").split(",")
        ids = distinct_ids(target.kind, listed)
        if not ids:
            raise bad_parameter("The parameter ids names no id.")
        if len(ids) > self._max_ids:
            raise bad_parameter(f"{len(ids)} distinct ids; at most {self._max_ids} are served at once.")
        return msgspec.structs.replace(target, parts=(Part(target.kind, ids),), variant=variant)


def route(path: str, query: str) -> Target:
    """The route that `path` names; a type or id that is none is its `refusal`. Raises `Refused`."""
    if path == ROOT:
        return Target(SEVERAL, path=path, query=query)
    segments = path[len(ROOT) + 1 :].split("/") if path.startswith(ROOT + "/") else []
    if not 1 <= len(segments) <= 2 or not all(segments):
        raise Refused(404, "40401", "No Such Path", f"There is nothing at {path[:200]}.")
    template = MANY if len(segments) == 1 else ONE
    try:
        kind = read_kind(unquote(segments[0]))
    except Refused as refusal:
        return Target(template, refusal=refusal.anew())
    if template == MANY:
        return Target(MANY, kind, path=f"{ROOT}/{kind}", query=query)
    id_ = unquote(segments[1])
    if not kind.admits(id_):
        return Target(ONE, kind, refusal=bad_parameter(f"No id of {kind}: {id_[:80]!r}."))
    return Target(ONE, kind, Id(id_), path=f"{ROOT}/{kind}/{quote(id_)}", query=query)


def read_kind(name: str, source: Source = _TYPE) -> Kind:
    """Raises `Refused` 400 `40008` where `name` is none of the nine types."""
    try:
        return Kind(name)
    except ValueError:
        raise Refused(
            400,
            "40008",
            "Unknown Resource Type",
            f"Unknown resource type '{name[:80]}'; known: {', '.join(Kind)}.",
            source=source,
        ) from None


def distinct_ids(kind: Kind, listed: Iterable[str], pointer: str | None = None) -> tuple[Id, ...]:
    """Ids in the order asked, each once, blanks and empty pieces dropped. Raises `Refused`."""
    ids = tuple(dict.fromkeys(Id(id_) for piece in listed if (id_ := piece.strip())))
    if wrong := [id_ for id_ in ids if not kind.admits(id_)]:
        named = ", ".join(repr(id_[:80]) for id_ in wrong[:10]) + (", …" if len(wrong) > 10 else "")
        detail = f"No ids of {kind}: {named}."
        source = Source(parameter="ids") if pointer is None else Source(pointer=pointer)
        raise Refused(400, "40005", "Invalid Parameter Value", detail, source=source)
    return ids


def normal_variant(*, include: Iterable[str], extend: Iterable[str], language: str) -> Variant:
    """Bring `include`, `extend` and `l` into the form that is cached and sent to Apple."""
    named = {"extend": _listed(extend), "include": _listed(include), "l": quote(language.strip(), safe="")}
    return Variant("&".join(f"{name}={value}" for name, value in named.items() if value))


def refuse_parameters(query: str) -> None:
    """Raise `Refused` for any query parameter: the route takes none, and Apple has no such route to ask."""
    for name, _ in parse_qsl(query, keep_blank_values=True):
        raise bad_parameter(f"This route takes no query parameter; got {name[:80]!r}.", name[:80])


def _origin_form(raw: str) -> str:
    """Proxies may send the whole URL as the target; only its path and query matter here."""
    if raw.startswith("/"):
        return raw
    parts = urlsplit(raw)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _listed(values: Iterable[str]) -> str:
    pieces = {piece for value in values for part in value.split(",") if (piece := part.strip())}
    return ",".join(quote(piece, safe="") for piece in sorted(pieces))
