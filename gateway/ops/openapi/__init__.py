"""The OpenAPI 3.1 document: what callers may send and what comes back, exact enough to test the gateway by.

One thing OpenAPI cannot say: which form an id must have follows from the type beside it. The descriptions do.
"""

from typing import Any

from gateway import __version__
from gateway.ops.curl import Listener
from gateway.ops.openapi.answers import HEADERS, RESPONSES
from gateway.ops.openapi.operations import operations_paths
from gateway.ops.openapi.parameters import PARAMETERS
from gateway.ops.openapi.ratings import ratings_paths
from gateway.ops.openapi.schemas import SCHEMAS
from gateway.ops.page import asset

API_URL = "http://127.0.0.1:8080"
OPS_URL = "http://127.0.0.1:8081"

SECURITY_SCHEMES: dict[str, Any] = {
    "userToken": {
        "type": "apiKey",
        "in": "header",
        "name": "Music-User-Token",
        "description": "The Music User Token of the user whose ratings are meant, exactly one. Another token "
        "of the same person is another user here.",
    },
    "callerToken": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Gateway-Token",
        "description": "One of `server.caller_tokens`, where such are set.",
    },
    "callerBearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "The same as `Authorization: Bearer`. It never reaches Apple.",
    },
    "opsToken": {
        "type": "http",
        "scheme": "bearer",
        "description": "`ops.token`, where it is set; without one, only this machine may ask.",
    },
}


def document(api_url: str = API_URL, ops_url: str = OPS_URL) -> dict[str, Any]:
    """The document, in the order in which a reader wants it; the URLs are where the listeners are.

    `api_url` may be `unix://` and the path of a socket.
    """
    api = Listener.at(api_url)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ratings-gateway",
            "version": __version__,
            "summary": "Apple Music's ratings API, cached: same paths, hundreds of ids at a time.",
            "description": asset("guide.md"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": api.url, "description": "The API listener; `make demo` listens here."}],
        "security": [
            {"userToken": []},
            {"userToken": [], "callerToken": []},
            {"userToken": [], "callerBearer": []},
        ],
        "tags": [
            {"name": "Read", "description": "Ratings of a user, from the cache where it has them."},
            {
                "name": "Write",
                "description": "Rate, or take a rating away. What was written is read at once.",
            },
            {"name": "Operate", "description": "The ops listener: it serves no ratings and no secret."},
        ],
        "paths": ratings_paths(api) | operations_paths(Listener.at(ops_url)),
        "components": {
            "securitySchemes": SECURITY_SCHEMES,
            "parameters": PARAMETERS,
            "headers": HEADERS,
            "responses": RESPONSES,
            "schemas": SCHEMAS,
        },
    }
