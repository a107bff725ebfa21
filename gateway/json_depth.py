"""Bounds how deeply JSON may be nested: the parsers' own limits differ from one Python to the next."""

import re
from itertools import accumulate
from typing import Final

MAX_DEPTH: Final = 500
"""Nested arrays and objects."""


def check_depth(body: bytes) -> None:
    """Raise `ValueError` if `body`, valid JSON or not, is nested more deeply than `MAX_DEPTH`."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    brackets = _STRING.sub(b"", body).translate(_OPENS, _NO_BRACKETS)
    depths = accumulate(1 if opens else -1 for opens in brackets)
    if max(depths, default=0) > MAX_DEPTH:
        raise ValueError("nested too deeply")


# In linear time: possessive, and a string without an end takes the rest, so that nothing is scanned twice.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_NO_BRACKETS = bytes(code for code in range(256) if code not in b"[]{}")
_OPENS = bytes.maketrans(b"[{]}", bytes((1, 1, 0, 0)))
