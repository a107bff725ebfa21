"""Path, query and header parameters. What the gateway tolerates is left open; what it refuses is closed."""

from typing import Any

from gateway.ops.openapi.schemas import FIRST, SECOND, schema


def parameters(*names: str) -> list[dict[str, str]]:
    """References to some of `PARAMETERS`."""
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


PARAMETERS: dict[str, Any] = {
    "type": {
        "name": "type",
        "in": "path",
        "required": True,
        "description": "What is rated.",
        "schema": schema("Type"),
        "example": "albums",
    },
    "id": {
        "name": "id",
        "in": "path",
        "required": True,
        "description": "An id of that type.",
        "schema": schema("Id"),
        "example": FIRST,
    },
    "ids": {
        "name": "ids",
        "in": "query",
        "required": True,
        "description": "Ids of that type, separated by commas; `ids=a&ids=b` is understood too. Blanks "
        "around ids and empty pieces are dropped. At most `server.max_ids` (10,000) distinct ones.",
        "style": "form",
        "explode": False,
        "schema": {"type": "array", "minItems": 1, "items": schema("Id")},
        "example": [FIRST, SECOND],
    },
    "include": {
        "name": "include",
        "in": "query",
        "description": "Relationships to include, such as `content`. Goes to Apple, and is cached apart.",
        "style": "form",
        "explode": False,
        "schema": {"type": "array", "items": {"type": "string"}},
        "example": ["content"],
    },
    "extend": {
        "name": "extend",
        "in": "query",
        "description": "Attributes to add. Goes to Apple, and is cached apart.",
        "style": "form",
        "explode": False,
        "schema": {"type": "array", "items": {"type": "string"}},
    },
    "l": {
        "name": "l",
        "in": "query",
        "description": "Language tag for included content. Goes to Apple, and is cached apart.",
        "schema": {"type": "string"},
        "example": "en-GB",
    },
    "cache-control": {
        "name": "Cache-Control",
        "in": "header",
        "description": "How the answer may be come by, for each id: `no-cache` asks Apple and takes nothing "
        "stale; `max-age=N` fetches entries older than N seconds; `max-stale[=N]` takes stale ones; "
        "`no-store` keeps nothing; `only-if-cached` never asks Apple (504 where something is missing). What "
        "is unknown says nothing.",
        "schema": {"type": "string"},
        "example": "max-age=60",
    },
    "prefer": {
        "name": "Prefer",
        "in": "header",
        "description": "`handling=lenient` (RFC 7240): where some ids cannot be had, 200 with what is known, "
        "and an error per missing id. Without it the whole request fails with the error of the first such "
        "id.",
        "schema": {"type": "string"},
        "example": "handling=lenient",
    },
    "timeout": {
        "name": "X-Request-Timeout-Ms",
        "in": "header",
        "description": "How long the caller waits, in milliseconds; else `server.request_timeout_seconds` "
        "(10 s). Past it, a stale rating is served where there is one, else 504.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 600_000},
        "example": 500,
    },
    "request-id": {
        "name": "X-Request-Id",
        "in": "header",
        "description": "Taken over into the answer and the log where it is 1 to 128 printable ASCII "
        "characters; else one is made. Not sent to Apple.",
        "schema": {"type": "string"},
        "example": "docs-1",
    },
    "traceparent": {
        "name": "traceparent",
        "in": "header",
        "description": "W3C trace context; its trace id goes into the log. Not sent to Apple.",
        "schema": {"type": "string"},
        "example": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    },
}

DIRECTIVES = parameters("cache-control", "prefer", "timeout", "request-id", "traceparent")
"""Of every read."""
CALL = parameters("timeout", "request-id", "traceparent")
"""Of every write."""
