"""Answers: their headers, and every error that is documented."""

from typing import Any

from gateway.ops.openapi.schemas import FIRST, SECOND, UNRATED, rating, schema

ERROR_ID = "Q5JXG2ZSCA6XBAYKTJ3L5W7N4E"


def _header(
    description: str, example: str | int, *, required: bool = False, **schema_: Any
) -> dict[str, Any]:
    described = {"description": description, "schema": schema_ or {"type": "string"}, "example": example}
    return {**described, "required": True} if required else described


HEADERS: dict[str, Any] = {
    "Cache-Status": _header(
        "Where the answer came from (RFC 9211): see *Cache-Status*. Absent where it was refused before "
        "anything was looked up.",
        'ratings-gateway; hit; ttl=271; detail="local=2 shared=0 upstream=0 stale=0"',
        type="string",
        pattern="^ratings-gateway; (hit|fwd=(bypass|method|stale|request|partial|miss))(;|$)",
    ),
    "Age": _header(
        "Seconds since Apple said the oldest rating used; 0 where all came from Apple.",
        29,
        type="integer",
        minimum=0,
    ),
    "Cache-Control": _header(
        "`private, no-cache`: a caller's own cache would not hear of writes. Errors: `no-store`.",
        "private, no-cache",
        required=True,
        type="string",
        enum=["private, no-cache", "no-store"],
    ),
    "Vary": _header(
        "Another user's answer is another answer.", "Music-User-Token", required=True, type="string"
    ),
    "X-Request-Id": _header(
        "Of this request, in the gateway's log too.",
        "docs-1",
        required=True,
        type="string",
        pattern="^[ -~]{1,128}$",
    ),
    "Server-Timing": _header(
        "Milliseconds within the gateway.",
        "total;dur=0.42",
        required=True,
        type="string",
        pattern="^total;dur=",
    ),
    "Preference-Applied": _header("That leniency was asked for, and understood.", "handling=lenient"),
    "Proxy-Status": _header(
        "How Apple, or the way to it, failed (RFC 9209), where it did.",
        "ratings-gateway; received-status=503",
        type="string",
        pattern="^ratings-gateway",
    ),
    "Retry-After": _header(
        "Seconds after which another try makes sense.", 1, required=True, type="integer", minimum=1
    ),
    "Allow": _header("The methods that the path has.", "GET, PUT, DELETE", required=True, type="string"),
    "WWW-Authenticate": _header(
        "Where the caller's own token is lacking.", 'Bearer realm="ratings-gateway"', type="string"
    ),
}


def headers(*names: str) -> dict[str, Any]:
    """References to some of `HEADERS`, and to those that every answer has."""
    every = ("Cache-Control", "Vary", "X-Request-Id", "Server-Timing")
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (*names, *every)}


def error(status: int, code: str, title: str, detail: str, **source: str) -> dict[str, Any]:
    """An envelope with one error, as an example."""
    shown = {"id": ERROR_ID, "title": title, "detail": detail, "status": str(status), "code": code}
    return {"errors": [{**shown, "source": source} if source else shown]}


def _failure(
    description: str, *examples: dict[str, Any], more: tuple[str, ...] = (), relayed: bool = False
) -> dict[str, Any]:
    """A response with the envelope; `relayed` where it may be Apple's own, of whatever shape."""
    named = {shown["errors"][0]["code"]: {"value": shown} for shown in examples}
    content = {"schema": schema("RelayedError" if relayed else "Errors"), "examples": named}
    return {
        "description": description,
        "headers": headers(*more),
        "content": {"application/json": content},
    }


RESPONSES: dict[str, Any] = {
    "Ratings": {
        "description": "The ratings that there are, in the order asked. Unrated ids are absent; where none "
        "is rated, `data` is empty.",
        "headers": headers("Cache-Status", "Age", "Preference-Applied"),
        "content": {
            "application/json": {
                "schema": schema("Ratings"),
                "examples": {
                    "rated": {"value": {"data": [rating(FIRST, 1), rating(SECOND, 1)]}},
                    "none rated": {"value": {"data": []}},
                },
            }
        },
    },
    "Rating": {
        "description": "The rating.",
        "headers": headers("Cache-Status", "Age", "Preference-Applied"),
        "content": {
            "application/json": {"schema": schema("Ratings"), "example": {"data": [rating(FIRST, 1)]}}
        },
    },
    "Written": {
        "description": "Rated. The body is Apple's answer.",
        "headers": headers("Cache-Status", "Age"),
        "content": {
            "application/json": {"schema": schema("Ratings"), "example": {"data": [rating(FIRST, 1)]}}
        },
    },
    "Removed": {
        "description": "The rating is gone, or there was none.",
        "headers": headers("Cache-Status", "Age"),
    },
    "Success": {
        "description": "Another success of Apple's, relayed as it came: it may answer a write with 200, 201, "
        "202 or 204, with a body or without; so may it a read that goes past the cache.",
        "headers": headers("Cache-Status", "Age"),
        "content": {
            "application/json": {
                "schema": {"description": "Whatever JSON Apple answered."},
                "example": {"data": [rating(FIRST, 1)]},
            }
        },
    },
    "BadRequest": _failure(
        "`40003` no `ids`; `40005` an id, parameter or header that cannot be, or too many ids; `40006` a "
        "body that is wrong at `source.pointer`; `40008` no such type; `40000` no HTTP. Apple's own 400s are "
        "relayed, such as `40015`: the user has no subscription.",
        error(400, "40003", "Invalid Parameter Value", "The parameter ids is required.", parameter="ids"),
        error(400, "40005", "Invalid Parameter Value", "No ids of albums: 'abc'.", parameter="ids"),
        error(
            400,
            "40006",
            "Invalid Request Body",
            "The value must be 1 (like) or -1 (dislike).",
            pointer="/attributes/value",
        ),
        more=("Cache-Status", "Proxy-Status"),
    ),
    "Unauthorized": _failure(
        "`40100`: a caller token is needed and was not given (then with `WWW-Authenticate`), or Apple "
        "refuses the gateway's developer token.",
        error(
            401,
            "40100",
            "Unauthorized",
            "Present a caller token: X-Gateway-Token, or Authorization: Bearer.",
        ),
        more=("Cache-Status", "WWW-Authenticate", "Proxy-Status"),
    ),
    "Forbidden": _failure(
        "`40300`: no user token, or Apple refuses it. It is then refused here for "
        "`upstream.quarantine_seconds`, without asking.",
        error(403, "40300", "Forbidden", "The request carries no Music-User-Token."),
        more=("Cache-Status", "Proxy-Status"),
    ),
    "NoSuchPath": _failure(
        "`40401`: there is no such path.",
        error(404, "40401", "No Such Path", "There is nothing at /v1/me/rating."),
        more=("Proxy-Status",),
    ),
    "NotRated": _failure(
        "`40400`: the id is unrated, an answer that is cached like a rating. `40401`: there is no such path.",
        error(404, "40400", "Resource Not Found", f"There is no rating for {UNRATED}."),
        more=("Age", "Cache-Status", "Preference-Applied", "Proxy-Status"),
    ),
    "MethodNotAllowed": _failure(
        "`40500`: the path has no such method.",
        error(405, "40500", "Method Not Allowed", "PATCH is not allowed here; allowed: GET, PUT, DELETE."),
        more=("Allow",),
    ),
    "ContentTooLarge": _failure(
        "`41300`: a body may have 2 MiB.",
        error(413, "41300", "Payload Too Large", "A body may have 2097152 bytes."),
    ),
    "TargetTooLong": _failure(
        "`41400`: path and query may have 512 KiB.",
        error(414, "41400", "URI Too Long", "A request target may have 524288 bytes."),
    ),
    "HeaderTooLarge": _failure(
        "`43100`: a header may have 16 KiB.",
        error(431, "43100", "Header Too Large", "A header may have 16384 bytes."),
    ),
    "TooManyRequests": _failure(
        "`42900`: Apple throttles, and nothing stale could stand in.",
        error(429, "42900", "Upstream Error", "Apple Music answered 429."),
        more=("Cache-Status", "Proxy-Status", "Retry-After"),
        relayed=True,
    ),
    "ServerError": _failure(
        "`50000`: a fault of the gateway, or Apple's own, relayed.",
        error(500, "50000", "Internal Error", "The gateway failed: KeyError."),
        more=("Cache-Status", "Proxy-Status"),
        relayed=True,
    ),
    "BadGateway": _failure(
        "`50200`: Apple could not be reached, or its answer is unusable.",
        error(502, "50200", "Bad Gateway", "Apple Music's answer is not JSON."),
        more=("Cache-Status", "Proxy-Status"),
        relayed=True,
    ),
    "Unavailable": _failure(
        "`50300`: calls to Apple are stopped because too many failed, or no slot came free.",
        error(503, "50300", "Service Unavailable", "Apple Music fails too often; it is not asked for now."),
        more=("Cache-Status", "Proxy-Status", "Retry-After"),
        relayed=True,
    ),
    "Timeout": _failure(
        "`50400`: time is up, or `only-if-cached` was asked for what is not cached.",
        error(504, "50400", "Gateway Timeout", "Not cached, and only-if-cached forbids asking Apple."),
        more=("Cache-Status", "Proxy-Status"),
        relayed=True,
    ),
    "Relayed": _failure(
        "Any other error of Apple's, with its status and body.",
        error(451, "45100", "Upstream Error", "Apple Music answered 451."),
        more=("Cache-Status", "Proxy-Status"),
        relayed=True,
    ),
}
