"""The Lua scripts: each is one atomic step, run by its digest and sent whole where Redis lost it."""

import hashlib
from collections.abc import Sequence
from importlib.resources import files

_HEADER = "#!lua flags=allow-oom\n"
"""A write must be told to a full Redis too: else others read from it what is true no more."""


class Script:
    """One script; `call` and `call_whole` make the command that runs it."""

    def __init__(self, name: str, *, when_full: bool) -> None:
        folder = files(__package__) / "lua"
        body = "".join((folder / part).read_text("utf-8") for part in ("common.lua", f"{name}.lua"))
        self.name = name
        self.source = (_HEADER if when_full else "") + body
        self._digest = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    def call(self, keys: Sequence[str], args: Sequence[str | bytes | int]) -> tuple[str | bytes | int, ...]:
        """Run by digest; answered NOSCRIPT where Redis does not have it (yet)."""
        return ("EVALSHA", self._digest, len(keys), *keys, *args)

    def call_whole(
        self, keys: Sequence[str], args: Sequence[str | bytes | int]
    ) -> tuple[str | bytes | int, ...]:
        """Run from its text, which Redis keeps for the next time."""
        return ("EVAL", self.source, len(keys), *keys, *args)


BEGIN = Script("begin", when_full=True)
END = Script("end", when_full=True)
PURGE = Script("purge", when_full=True)
FORGET = Script("forget", when_full=True)
FILL = Script("fill", when_full=False)
SWEEP = Script("sweep", when_full=False)
ADMIT = Script("admit", when_full=False)

SCRIPT_NAMES = tuple(script.name for script in (BEGIN, END, PURGE, FORGET, FILL, SWEEP, ADMIT))
