"""Loads the OpenAPI document, `assets/openapi.yaml`, and fills in what the code defines.

OpenAPI cannot express that the form of an id depends on its type. The descriptions do.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from gateway import __version__
from gateway.model import Kind
from gateway.ops.curl import CurlTarget
from gateway.ops.page import asset

API_URL = "http://127.0.0.1:8080"
OPS_URL = "http://127.0.0.1:8081"


def document(api_url: str = API_URL, ops_url: str = OPS_URL) -> dict[str, Any]:
    """The document, with the URLs of the listeners; `api_url` may be `unix://` and the path of a socket."""
    loaded: dict[str, Any] = msgspec.yaml.decode(asset("openapi.yaml"))
    del loaded["x-shared"]  # anchors
    api, ops = CurlTarget.at(api_url), CurlTarget.at(ops_url)
    loaded["info"]["version"] = __version__
    loaded["servers"][0]["url"] = api.url
    _fill_types(loaded["components"]["schemas"])
    for item in loaded["paths"].values():
        if "servers" in item:
            item["servers"] = [{**item["servers"][0], "url": ops.url}]
        for sample in _samples(item):
            sample["source"] = (
                _addressed(sample["source"], OPS_URL, ops)
                if "servers" in item
                else _addressed(sample["source"], API_URL, api)
            )
    return loaded


def _fill_types(schemas: dict[str, Any]) -> None:
    patterns = {kind: kind.id_pattern for kind in Kind}
    schemas["Type"]["enum"] = [kind.value for kind in Kind]
    schemas["Id"]["pattern"] = f"^({'|'.join(sorted(set(patterns.values())))})$"
    schemas["SeveralRequest"]["properties"]["ids"]["properties"] = {
        kind.value: {"type": "array", "minItems": 1, "items": {"type": "string", "pattern": f"^{pattern}$"}}
        for kind, pattern in patterns.items()
    }


def _samples(item: dict[str, Any]) -> Iterator[dict[str, str]]:
    for operation in item.values():
        if isinstance(operation, dict):
            yield from operation["x-codeSamples"]


def _addressed(source: str, written: str, listener: CurlTarget) -> str:
    """A curl command with the address of `listener` in place of the one that is `written`."""
    return source.replace("curl ", f"curl {listener.via}", 1).replace(written, listener.url)
