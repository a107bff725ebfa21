"""Derives the variant, which is cached and sent to Apple, from query parameters.

`include`, `extend` and `l` have a normal form. Any other parameter is kept byte for byte, because only Apple
defines its meaning; a repeated `l` counts as one of them.
"""

from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, unquote_plus

import msgspec

from gateway.errors import Refused, Source
from gateway.model import NORMALISED, Variant

MAX_PARAMETERS: Final = 20_000
"""Twice as many as 10,000 ids, each a parameter of its own; more would hold up other requests."""


class Parameters(msgspec.Struct, frozen=True):
    """The query of a read."""

    ids: tuple[str, ...]
    """The values of `ids`, decoded."""
    variant: Variant


def read_parameters(query: str) -> Parameters:
    """Split a query into ids and variant. Raises `Refused` for more than `MAX_PARAMETERS` parameters."""
    if query.count("&") >= MAX_PARAMETERS:
        detail = f"A request may have at most {MAX_PARAMETERS:,} query parameters."
        raise Refused(400, "40005", "Invalid Parameter Value", detail)
    ids: list[str] = []
    named: dict[str, list[tuple[str, str]]] = {name: [] for name in NORMALISED}
    others: list[tuple[str, str]] = []
    for piece in query.split("&"):
        if not piece:
            continue
        raw_name, _, value = piece.partition("=")
        name = unquote_plus(raw_name)
        if name == "ids":
            ids.append(unquote_plus(value))
        elif name in named:
            named[name].append((unquote_plus(value), piece))
        else:
            others.append((raw_name, piece))
    languages = named["l"]
    if len(languages) > 1:
        others += [("l", piece) for _, piece in languages]
        languages = []
    others.sort(key=lambda other: other[0])
    variant = normal_variant(
        include=[value for value, _ in named["include"]],
        extend=[value for value, _ in named["extend"]],
        language="".join(value for value, _ in languages),
        others=[piece for _, piece in others],
    )
    return Parameters(tuple(ids), variant)


def normal_variant(
    *, include: Iterable[str], extend: Iterable[str], language: str, others: Iterable[str] = ()
) -> Variant:
    """The variant's query string; `others` are complete parameters, sorted by name."""
    named = {"extend": _listed(extend), "include": _listed(include), "l": quote(language.strip(), safe="")}
    return Variant("&".join([f"{name}={value}" for name, value in named.items() if value] + [*others]))


def refuse_parameters(query: str) -> None:
    """Raise `Refused` for any query parameter: the route takes none."""
    for piece in query.split("&"):
        if piece:
            name = unquote_plus(piece.partition("=")[0])[:80]
            detail = f"This route takes no query parameters, but got {name!r}."
            raise Refused(400, "40005", "Invalid Parameter Value", detail, source=Source(parameter=name))


def _listed(values: Iterable[str]) -> str:
    pieces = {piece for value in values for part in value.split(",") if (piece := part.strip())}
    return ",".join(quote(piece, safe="") for piece in sorted(pieces))
