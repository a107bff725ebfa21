"""Addresses of listeners in curl commands."""

import shlex
from typing import NamedTuple, Self


class CurlTarget(NamedTuple):
    """Address of a listener."""

    url: str
    via: str = ""
    """Options that curl needs to reach it, with a trailing blank."""

    @classmethod
    def at(cls, url: str) -> Self:
        """The listener at `url`, which may be `unix://` and the path of a socket."""
        if not url.startswith("unix://"):
            return cls(url)
        return cls("http://localhost", f"--unix-socket {shlex.quote(url.removeprefix('unix://'))} ")

    def quoted(self, path: str) -> str:
        """The URL of `path`, quoted for a shell."""
        return shlex.quote(self.url + path)
