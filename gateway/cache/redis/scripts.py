"""The Lua scripts: each is one atomic step, run by digest and sent whole if Redis does not have it."""

import hashlib
from collections.abc import Sequence
from importlib.resources import files

from gateway.model import MAX_VARIANTS

WHEN_FULL = "#!lua flags=allow-oom\n"
"""Writes must reach a full Redis too: otherwise other gateways read outdated ratings from it."""

Argument = str | bytes | int


class Script:
    """One script; `call` and `call_whole` make the command that runs it."""

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        self.source = source
        self._digest = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()

    def call(self, keys: Sequence[str], args: Sequence[Argument]) -> tuple[Argument, ...]:
        """Return the command that runs it by digest; NOSCRIPT if Redis does not have it (yet)."""
        return ("EVALSHA", self._digest, len(keys), *keys, *args)

    def call_whole(self, keys: Sequence[str], args: Sequence[Argument]) -> tuple[Argument, ...]:
        """Return the command that runs it from its source, which Redis then keeps."""
        return ("EVAL", self.source, len(keys), *keys, *args)


def _load(name: str, *, header: str = "") -> Script:
    folder = files(__package__) / "lua"
    constants = f"local MAX_VARIANTS = {MAX_VARIANTS}\n"
    parts = [(folder / f"{part}.lua").read_text() for part in ("common", name)]
    return Script(name, "".join([header, constants, *parts]))


BEGIN = _load("begin", header=WHEN_FULL)
END = _load("end", header=WHEN_FULL)
PURGE = _load("purge", header=WHEN_FULL)
REPLAY = _load("replay", header=WHEN_FULL)
FILL = _load("fill")
SWEEP = _load("sweep")
ADMIT = _load("admit")
BEAT = _load("beat", header=WHEN_FULL)

SCRIPT_NAMES = tuple(script.name for script in (BEGIN, END, PURGE, REPLAY, FILL, SWEEP, ADMIT))
"""Those whose durations are measured."""
