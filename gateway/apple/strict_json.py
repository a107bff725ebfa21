"""JSON from the network, parsed so that no two parsers could read it differently, and within bounds.

Bounds are on work, not only on bytes: 4 MiB of `{"a":0,"b":0,…}` take ten times as long as 4 MiB of text.
"""

import json
from typing import Any, Final, NoReturn

from gateway.json_depth import check_depth

MAX_TOKENS: Final = 150_000
"""Commas, colons and opening brackets, parsed in a tenth of a second.

A hundred ratings with their relationships have half.
"""


def load(body: bytes) -> Any:
    """Parse `body`.

    Raises `ValueError`, also for NaN, for a name twice in one object, and beyond the bounds.
    """
    if sum(map(body.count, (b",", b":", b"[", b"{"))) > MAX_TOKENS:
        raise ValueError("too many values")
    check_depth(body)
    try:
        return _DECODER.decode(body.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object has a name twice")
    return members


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)
