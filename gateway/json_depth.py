"""Bounds how deeply JSON may be nested: the parsers' own limits differ from one Python to the next."""

import re
from typing import Final

MAX_DEPTH: Final = 500
"""Nested arrays and objects."""


def check_depth(body: bytes) -> None:
    """Raise `ValueError` if `body`, valid JSON or not, is nested more deeply than `MAX_DEPTH`."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    # Remove the innermost pairs of brackets repeatedly, until none is left or the bound is reached.
    brackets = _STRING.sub(b"", body).translate(_ONE_KIND, _NO_BRACKETS)
    for _ in range(MAX_DEPTH):
        fewer = brackets.replace(b"[]", b"")
        if fewer == brackets:
            return
        brackets = fewer
    raise ValueError("nested too deeply")


_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NO_BRACKETS = bytes(code for code in range(256) if code not in b"[]{}")
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
