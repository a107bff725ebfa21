"""What is wrong with a configuration: each fault with its setting, its source and what is accepted."""

from collections.abc import Sequence
from typing import NamedTuple


class Fault(NamedTuple):
    """One thing to put right. Nothing in it repeats a value that could be a secret."""

    setting: str
    """`server.port`, or `config` for the file as a whole."""
    source: str
    """`environment GATEWAY_SERVER__PORT`, `file gateway.toml`, `default`, or `not set`."""
    problem: str
    accepted: str

    @classmethod
    def unknown(cls, name: str, source: str, nearest: str) -> "Fault":
        """A name that does not exist; `nearest` is the one that was probably meant."""
        return cls(name, source, f"there is no such setting; did you mean {nearest}?", nearest)

    def __str__(self) -> str:
        return f"{self.setting} ({self.source}): {self.problem}; accepted: {self.accepted}"


class BadSettings(Exception):
    """The configuration cannot be used; `faults` are all the reasons, in the order of the settings."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)
