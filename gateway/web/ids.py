"""Parses types and ids as callers write them; errors name the wrong ones."""

from collections.abc import Iterable
from typing import Final

import msgspec

from gateway.errors import Refused, Source
from gateway.model import Id, Kind

KINDS: Final = {kind.value: kind for kind in Kind}
"""The nine types by their names."""

_IDS: Final = Source(parameter="ids")
_TYPE: Final = Source(parameter="type")
_SHOWN_IDS: Final = 10
_SHOWN_CHARACTERS: Final = 80


class Ids(msgspec.Struct, frozen=True):
    """Distinct ids in the order asked: those that can be of the type, and those that cannot."""

    valid: tuple[Id, ...]
    invalid: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.valid) + len(self.invalid)


def read_kind(name: str, source: Source) -> Kind:
    """Raises `Refused` 400 `40008` if `name` is none of the nine types."""
    kind = KINDS.get(name)
    if kind is None:
        raise unknown_type(name, source)
    return kind


def unknown_type(name: str, source: Source = _TYPE) -> Refused:
    """A 400 that lists the nine types."""
    detail = f"Unknown resource type '{name[:_SHOWN_CHARACTERS]}'; known: {', '.join(Kind)}."
    return Refused(400, "40008", "Unknown Resource Type", detail, source=source)


def distinct_ids(kind: Kind, listed: Iterable[str]) -> Ids:
    """Ids in the order asked, each once, without blanks and empty pieces."""
    valid: list[Id] = []
    invalid: list[str] = []
    for id_ in dict.fromkeys(Id(id_) for piece in listed if (id_ := piece.strip())):
        if kind.admits(id_):
            valid.append(id_)
        else:
            invalid.append(id_)
    return Ids(tuple(valid), tuple(invalid))


def invalid_ids(kind: Kind, ids: Iterable[str], source: Source = _IDS) -> Refused:
    """A 400 that names the ids which cannot be of the type, and says what is expected."""
    shown = [repr(id_[:_SHOWN_CHARACTERS]) for id_ in ids]
    named = ", ".join(shown[:_SHOWN_IDS]) + (", …" if len(shown) > _SHOWN_IDS else "")
    singular = kind.removesuffix("s").replace("-", " ")
    number = "id" if len(shown) == 1 else "ids"
    detail = f"Invalid {singular} {number}: {named}. {singular.capitalize()} ids are {_expected(kind)}."
    return Refused(400, "40005", "Invalid Parameter Value", detail, source=source)


def too_many_ids(count: int, most: int, source: Source = _IDS) -> Refused:
    """A 400 for more distinct ids than one request may have."""
    detail = f"{count:,} distinct ids; a request may have at most {most:,}. Split the request."
    return Refused(400, "40005", "Invalid Parameter Value", detail, source=source)


def _expected(kind: Kind) -> str:
    if not kind.id_prefix:
        return "up to 20 digits"
    return f"'{kind.id_prefix}' and up to 64 letters, digits, dots, hyphens and underscores"
