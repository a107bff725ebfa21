"""A written rating laid over what Apple still reports, in whatever variant it comes."""

from typing import Any

import msgspec

from gateway.model import Resource


def overlay(written: Resource, reported: Resource) -> Resource:
    """What a reader is shown: the written value, in the resource that Apple reports where there is one."""
    if written is None or reported is None:
        return written
    shown: dict[str, Any] = msgspec.json.decode(reported)
    shown["attributes"] = (shown.get("attributes") or {}) | msgspec.json.decode(written)["attributes"]
    return msgspec.json.encode(shown)
