"""Faults of a configuration: the setting, where its value came from, and what is accepted."""

from collections.abc import Sequence
from typing import NamedTuple


class SettingsFault(NamedTuple):
    """One thing to correct. Only numbers, choices and booleans are repeated: other values may be secret."""

    setting: str
    """`server.port`, or `config` for the file as a whole."""
    source: str
    """`environment GATEWAY_SERVER__PORT`, `file gateway.toml`, `default`, or `not set`."""
    problem: str
    accepted: str
    variable: str = ""
    """The environment variables that set it, empty if there are none."""

    @classmethod
    def unknown(cls, name: str, source: str, nearest: str | None, known: str) -> "SettingsFault":
        """A name that does not exist: `nearest` is a similar one that does, `known` describes all of them."""
        if nearest is None:
            return cls(name, source, "no such setting", known)
        return cls(name, source, f"no such setting; did you mean {nearest}?", nearest)

    def __str__(self) -> str:
        return f"{self.setting} ({self.source}): {self.problem}; accepted: {self.accepted}"


class BadSettings(Exception):
    """The configuration is invalid; `faults` lists every reason, in the order of the settings."""

    def __init__(self, faults: Sequence[SettingsFault], warnings: tuple[str, ...] = ()) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)
        self.warnings = warnings
