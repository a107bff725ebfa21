"""Commands to paste into a shell, as `x-codeSamples`."""

from gateway.ops.curl import Listener
from gateway.ops.openapi.schemas import USER


def curl(listener: Listener, path: str, *options: str) -> str:
    """Ask for a user's ratings; options stand on lines of their own before the URL."""
    head = f"curl -i {listener.via}-H 'Music-User-Token: {USER}'"
    return " \\\n  ".join([head, *options, listener.quoted(path)])


def plain_curl(listener: Listener, path: str, *options: str) -> str:
    """Ask for something that is nobody's."""
    return " ".join(["curl", *options, listener.quoted(path)])


def sample(label: str, source: str) -> dict[str, str]:
    """An entry of `x-codeSamples`."""
    return {"lang": "Shell", "label": label, "source": source}
