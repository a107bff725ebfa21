"""How curl reaches a listener."""

import shlex
from typing import NamedTuple, Self


class Listener(NamedTuple):
    """Where a listener is."""

    url: str
    via: str = ""
    """What stands before curl's other options, with a blank behind it."""

    @classmethod
    def at(cls, url: str) -> Self:
        """The listener at `url`, which may be `unix://` and the path of a socket."""
        if not url.startswith("unix://"):
            return cls(url)
        return cls("http://localhost", f"--unix-socket {shlex.quote(url.removeprefix('unix://'))} ")

    def quoted(self, path: str) -> str:
        """The URL of `path`, as a shell takes it."""
        return shlex.quote(self.url + path)
