"""The paths of the API listener, each operation with examples that run against `make demo`."""

import json
from typing import Any

from gateway.ops.curl import Listener
from gateway.ops.openapi.parameters import CALL, DIRECTIVES, parameters
from gateway.ops.openapi.samples import curl, sample
from gateway.ops.openapi.schemas import (
    FIRST,
    RATING_REQUEST_EXAMPLE,
    SECOND,
    SEVERAL_EXAMPLE,
    UNRATED,
    schema,
)

ROOT = "/v1/me/ratings"
COMMON = {
    "400": "BadRequest",
    "401": "Unauthorized",
    "403": "Forbidden",
    "404": "NoSuchPath",
    "405": "MethodNotAllowed",
    "414": "TargetTooLong",
    "429": "TooManyRequests",
    "431": "HeaderTooLarge",
    "500": "ServerError",
    "502": "BadGateway",
    "503": "Unavailable",
    "504": "Timeout",
    "default": "Relayed",
}


def ratings_paths(api: Listener) -> dict[str, Any]:
    """The reads and writes; samples ask the listener `api`."""
    return {
        ROOT + "/{type}": {"parameters": parameters("type"), "get": _read_many(api)},
        ROOT + "/{type}/{id}": {
            "parameters": parameters("type", "id"),
            "get": _read_one(api),
            "put": _rate(api),
            "delete": _unrate(api),
        },
        ROOT: {"post": _read_several(api)},
    }


def responses(success: dict[str, str], **errors: str) -> dict[str, Any]:
    """The successes, then the errors in the order of their statuses."""
    named = success | dict(sorted({**COMMON, **errors}.items()))
    return {status: {"$ref": f"#/components/responses/{name}"} for status, name in named.items()}


def _read_many(api: Listener) -> dict[str, Any]:
    path = f"{ROOT}/albums?ids={FIRST},{SECOND}"
    return {
        "operationId": "readRatings",
        "tags": ["Read"],
        "summary": "Ratings of many ids of one type",
        "description": "Any number of ids: the gateway cuts them into calls that Apple takes, and makes as "
        "few as it can. A parameter that is not listed here goes to Apple as it is, past the cache.",
        "parameters": [*parameters("ids", "include", "extend", "l"), *DIRECTIVES],
        "responses": responses({"200": "Ratings", "2XX": "Success"}),
        "x-codeSamples": [
            sample("A miss at first, then hits", curl(api, path)),
            sample("Ask Apple, whatever is cached", curl(api, path, "-H 'Cache-Control: no-cache'")),
            sample(
                "Within half a second, with what can be had by then",
                curl(api, path, "-H 'X-Request-Timeout-Ms: 500'", "-H 'Prefer: handling=lenient'"),
            ),
            sample("With the albums themselves", curl(api, f"{path}&include=content&l=en-GB")),
        ],
    }


def _read_one(api: Listener) -> dict[str, Any]:
    return {
        "operationId": "readRating",
        "tags": ["Read"],
        "summary": "The rating of one id",
        "description": "Shares the cache, and the calls to Apple, with the form above.",
        "parameters": [*parameters("include", "extend", "l"), *DIRECTIVES],
        "responses": responses({"200": "Rating", "2XX": "Success"}, **{"404": "NotRated"}),
        "x-codeSamples": [
            sample("A rated album", curl(api, f"{ROOT}/albums/{FIRST}")),
            sample("An unrated one: 404", curl(api, f"{ROOT}/albums/{UNRATED}")),
        ],
    }


def _rate(api: Listener) -> dict[str, Any]:
    body = json.dumps(RATING_REQUEST_EXAMPLE, separators=(",", ":"))
    return {
        "operationId": "rate",
        "tags": ["Write"],
        "summary": "Like or dislike",
        "description": "What was written is what every read returns from then on, through every gateway, "
        "also while Apple still reports the old rating. Finished even when the caller leaves.",
        "parameters": [*parameters("l"), *CALL],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema("RatingRequest")}},
        },
        "responses": responses(
            {"200": "Written", "2XX": "Success"}, **{"404": "NotRated", "413": "ContentTooLarge"}
        ),
        "x-codeSamples": [
            sample("Like an album", curl(api, f"{ROOT}/albums/{FIRST}", "-X PUT", f"-d '{body}'")),
        ],
    }


def _unrate(api: Listener) -> dict[str, Any]:
    return {
        "operationId": "unrate",
        "tags": ["Write"],
        "summary": "Take a rating away",
        "parameters": CALL,
        "responses": responses({"204": "Removed", "2XX": "Success"}, **{"404": "NotRated"}),
        "x-codeSamples": [sample("Unrate an album", curl(api, f"{ROOT}/albums/700000001", "-X DELETE"))],
    }


def _read_several(api: Listener) -> dict[str, Any]:
    body = json.dumps(SEVERAL_EXAMPLE, separators=(",", ":"))
    return {
        "operationId": "readSeveralTypes",
        "tags": ["Read"],
        "summary": "Ratings of many ids of several types",
        "description": "The gateway's own: Apple has no such call. It reads, whatever its method; at most "
        "`server.max_ids` ids in all, and no query parameters.",
        "parameters": DIRECTIVES,
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema("SeveralRequest")}},
        },
        "responses": responses({"200": "Ratings"}, **{"413": "ContentTooLarge"}),
        "x-codeSamples": [sample("Albums and a song", curl(api, f"{ROOT}", f"-d '{body}'"))],
    }
