"""The paths of the ops listener, as far as a person or a script calls them."""

from typing import Any

from gateway.ops.curl import Listener
from gateway.ops.openapi.samples import curl, plain_curl, sample
from gateway.ops.openapi.schemas import FIRST, ID_PATTERN, USER, schema

EITHER: list[dict[str, list[str]]] = [{}, {"opsToken": []}]
USER_TOO: list[dict[str, list[str]]] = [{"userToken": []}, {"userToken": [], "opsToken": []}]


def operations_paths(ops: Listener) -> dict[str, Any]:
    """Samples ask the listener `ops`."""
    paths = {
        "/-/explain": {"get": _explain(ops), "post": _explain_form(ops)},
        "/-/purge": {"post": _purge(ops)},
        "/-/reload": {"post": _reload(ops)},
        "/": {"get": _open(ops, "/", "index", "Links to all pages", _page("The page."))},
        "/status": {"get": _status(ops), "post": _status_form(ops)},
        "/readyz": {"get": _ready(ops)},
        "/metrics": {"get": _metrics(ops)},
        "/livez": {"get": _open(ops, "/livez", "live", "Whether the event loop turns", _text("It does."))},
        "/startupz": {"get": _open(ops, "/startupz", "started", "Whether it has started", _text("It has."))},
        "/openapi.json": {"get": _open(ops, "/openapi.json", "document", "This document", DOCUMENT)},
        "/docs": {"get": _open(ops, "/docs", "docs", "This reference as a page", _page("The page."))},
        "/runbook": {"get": _open(ops, "/runbook", "runbook", "The runbook", _page("The page."))},
    }
    servers = [{"url": ops.url, "description": "The ops listener."}]
    return {path: {"servers": servers, **item} for path, item in paths.items()}


def _text(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"text/plain": {"schema": {"type": "string"}}}}


def _page(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"text/html": {"schema": {"type": "string"}}}}


def _as_page_too(response: dict[str, Any]) -> dict[str, Any]:
    """For whoever accepts `text/html`."""
    return {**response, "content": {**response["content"], **_page("")["content"]}}


REFUSALS = {
    "400": _text("What is wrong with the request."),
    "401": {
        **_text("`ops.token` is set, and was not presented."),
        "headers": {"WWW-Authenticate": {"$ref": "#/components/headers/WWW-Authenticate"}},
    },
    "403": _text("`ops.token` is not set, and others than this machine could ask."),
}


def _json(description: str, schema_: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    content = {"schema": schema_, "example": example}
    return {"description": description, "content": {"application/json": content}}


def _explain(ops: Listener) -> dict[str, Any]:
    answer = {
        "type": "albums",
        "id": FIRST,
        "user": "2f6e1f0b",
        "source": "local",
        "why": "It is in this process, and fresh.",
        "entry": {
            "rating": 1, "age_seconds": 29.0, "fresh_for_seconds": 271.0, "state": "fresh", "believed": True,
        },
        "stale": None,
        "local": None,
        "hold": None,
        "in_flight": False,
        "quarantined": False,
    }  # fmt: skip
    return {
        "operationId": "explain",
        "tags": ["Operate"],
        "summary": "Where the answer for one id would come from now, and why",
        "description": "Nothing is fetched, nothing is kept. As a page for people with `Accept: text/html`.",
        "security": USER_TOO,
        "parameters": [
            {"name": "type", "in": "query", "schema": schema("Type"), "example": "albums"},
            {
                "name": "id",
                "in": "query",
                "required": True,
                "schema": {"type": "string", "pattern": ID_PATTERN},
                "example": FIRST,
            },
        ],
        "responses": {
            "200": _as_page_too(_json("The answer's origin.", {"type": "object"}, answer)),
            **REFUSALS,
            "400": _as_page_too(REFUSALS["400"]),
        },
        "x-codeSamples": [sample("One album", curl(ops, f"/-/explain?type=albums&id={FIRST}"))],
    }


def _explain_form(ops: Listener) -> dict[str, Any]:
    fields = {
        "type": schema("Type"),
        "id": {"type": "string"},
        "user_token": {"type": "string"},
        "ops_token": {"type": "string", "description": "Where `ops.token` is set."},
    }
    asked = f"-d 'user_token={USER}&type=albums&id={FIRST}'"
    return {
        "operationId": "explainByForm",
        "tags": ["Operate"],
        "summary": "The same as a page, for a browser's form",
        "description": "A browser cannot send the tokens as headers.",
        "security": [{}],
        "requestBody": _form(fields, required=("id", "user_token")),
        "responses": {
            "200": _page("The answer's origin."),
            **{status: _page(str(refusal["description"])) for status, refusal in REFUSALS.items()},
        },
        "x-codeSamples": [sample("One album", plain_curl(ops, "/-/explain", asked))],
    }


def _form(fields: dict[str, Any], *, required: tuple[str, ...]) -> dict[str, Any]:
    form = {"type": "object", "required": list(required), "properties": fields}
    return {"content": {"application/x-www-form-urlencoded": {"schema": form}}}


def _purge(ops: Listener) -> dict[str, Any]:
    body = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "type": schema("Type"),
            "ids": {"type": "array", "items": schema("Id"), "description": "Needs `type`."},
        },
    }
    return {
        "operationId": "purge",
        "tags": ["Operate"],
        "summary": "Drop a user's cached ratings everywhere",
        "description": "All of them, those of one type, or single ids; the local tiers of the other gateways "
        "included. Written values within their hold stay.",
        "security": USER_TOO,
        "requestBody": {"content": {"application/json": {"schema": body, "example": {"type": "albums"}}}},
        "responses": {
            "200": _json("Dropped.", {"type": "object"}, {"purged": True}),
            **REFUSALS,
            "405": _text("Only POST changes something."),
            "413": _text("A body may have 1 MiB."),
        },
        "x-codeSamples": [sample("All albums", curl(ops, "/-/purge", '-d \'{"type":"albums"}\''))],
    }


def _reload(ops: Listener) -> dict[str, Any]:
    return {
        "operationId": "reload",
        "tags": ["Operate"],
        "summary": "Read the signing key again, now",
        "description": "A key file that changes is picked up without this. A broken new key leaves the old "
        "one in use.",
        "security": EITHER,
        "responses": {
            "200": _json("The key is in use.", {"type": "object"}, {"reloaded": True}),
            "401": REFUSALS["401"],
            "403": REFUSALS["403"],
            "405": _text("Only POST changes something."),
            "500": _json("It is not.", {"type": "object"}, {"reloaded": False, "error": "no such file"}),
        },
        "x-codeSamples": [sample("Reload", plain_curl(ops, "/-/reload", "-X POST"))],
    }


def _status(ops: Listener) -> dict[str, Any]:
    return {
        "operationId": "status",
        "tags": ["Operate"],
        "summary": "What this gateway does, and what is wrong",
        "description": "A page for people. Settings and recent errors are left out on an address that others "
        "can reach, unless `ops.token` is presented.",
        "security": EITHER,
        "parameters": [
            {"name": "format", "in": "query", "schema": {"enum": ["html", "json"]}, "example": "json"},
        ],
        "responses": {
            "200": {
                "description": "The page, or the same as JSON.",
                "content": {
                    "text/html": {"schema": {"type": "string"}},
                    "application/json": {"schema": {"type": "object", "required": ["findings", "process"]}},
                },
            },
        },
        "x-codeSamples": [sample("As JSON", plain_curl(ops, "/status?format=json"))],
    }


def _status_form(ops: Listener) -> dict[str, Any]:
    return {
        "operationId": "statusByForm",
        "tags": ["Operate"],
        "summary": "The page with settings and recent errors, for a browser's form",
        "security": [{}],
        "requestBody": _form({"ops_token": {"type": "string"}}, required=()),
        "responses": {
            "200": _page("The page."),
            "401": _page("The page without them: the token is not `ops.token`."),
        },
        "x-codeSamples": [sample("With a token", plain_curl(ops, "/status", "-d 'ops_token=…'"))],
    }


def _ready(ops: Listener) -> dict[str, Any]:
    return {
        "operationId": "ready",
        "tags": ["Operate"],
        "summary": "Whether requests should be sent here",
        "description": "Not while draining, nor where no developer token can be minted. Redis and Apple are "
        "reported, and do not make it fail.",
        "security": [{}],
        "parameters": [
            {
                "name": "verbose",
                "in": "query",
                "allowEmptyValue": True,
                "schema": {"type": "string"},
                "description": "List the checks.",
            },
        ],
        "responses": {"200": _text("Ready."), "503": _text("Not ready.")},
        "x-codeSamples": [sample("With the checks", plain_curl(ops, "/readyz?verbose"))],
    }


def _metrics(ops: Listener) -> dict[str, Any]:
    return {
        "operationId": "metrics",
        "tags": ["Operate"],
        "summary": "Metrics for Prometheus",
        "security": [{}],
        "responses": {"200": _text("All metrics, prefixed `gateway_`.")},
        "x-codeSamples": [sample("All", plain_curl(ops, "/metrics"))],
    }


DOCUMENT = _json("OpenAPI 3.1.", {"type": "object"}, {"openapi": "3.1.0"})


def _open(ops: Listener, path: str, name: str, summary: str, answer: dict[str, Any]) -> dict[str, Any]:
    """A route that takes nothing and refuses nobody."""
    return {
        "operationId": name,
        "tags": ["Operate"],
        "summary": summary,
        "security": [{}],
        "responses": {"200": answer},
        "x-codeSamples": [sample("Ask", plain_curl(ops, path))],
    }
