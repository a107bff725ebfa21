"""The Lua scripts: each is one atomic step, run by its digest and sent whole where Redis lost it."""

import hashlib
from collections.abc import Sequence
from importlib.resources import files

WHEN_FULL = "#!lua flags=allow-oom\n"
"""A write must be told to a full Redis too: else others read from it what is true no more."""

Part = str | bytes | int


class Script:
    """One script; `call` and `call_whole` make the command that runs it."""

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        self.source = source
        self._digest = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()

    def call(self, keys: Sequence[str], args: Sequence[Part]) -> tuple[Part, ...]:
        """Run by digest; answered NOSCRIPT where Redis does not have it (yet)."""
        return ("EVALSHA", self._digest, len(keys), *keys, *args)

    def call_whole(self, keys: Sequence[str], args: Sequence[Part]) -> tuple[Part, ...]:
        """Run from its text, which Redis keeps for the next time."""
        return ("EVAL", self.source, len(keys), *keys, *args)


def _load(name: str, *, header: str = "") -> Script:
    folder = files(__package__) / "lua"
    return Script(name, header + "".join((folder / f"{part}.lua").read_text() for part in ("common", name)))


BEGIN = _load("begin", header=WHEN_FULL)
END = _load("end", header=WHEN_FULL)
PURGE = _load("purge", header=WHEN_FULL)
FORGET = _load("forget", header=WHEN_FULL)
FILL = _load("fill")
SWEEP = _load("sweep")
ADMIT = _load("admit")

SCRIPT_NAMES = tuple(script.name for script in (BEGIN, END, PURGE, FORGET, FILL, SWEEP, ADMIT))
