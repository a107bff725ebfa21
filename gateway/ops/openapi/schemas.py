"""The objects that go over the wire, and the values that the examples are made of."""

from typing import Any

from gateway.model import Kind

USER = "sandbox-user-ada"
FIRST, SECOND, UNRATED = "1138988512", "475655712", "111"
"""Albums: the first two are rated by `USER` in the sandbox, the third is not."""

ID_PATTERN = r"^([0-9]{1,20}|(pl|ra|l|i|p)\.[A-Za-z0-9._-]{1,64})$"
DIGITS = r"^[0-9]{1,20}$"
ID_PATTERNS = {
    Kind.ALBUMS: DIGITS,
    Kind.SONGS: DIGITS,
    Kind.MUSIC_VIDEOS: DIGITS,
    Kind.PLAYLISTS: r"^pl\.[A-Za-z0-9._-]{1,64}$",
    Kind.STATIONS: r"^ra\.[A-Za-z0-9._-]{1,64}$",
    Kind.LIBRARY_ALBUMS: r"^l\.[A-Za-z0-9._-]{1,64}$",
    Kind.LIBRARY_SONGS: r"^i\.[A-Za-z0-9._-]{1,64}$",
    Kind.LIBRARY_PLAYLISTS: r"^p\.[A-Za-z0-9._-]{1,64}$",
    Kind.LIBRARY_MUSIC_VIDEOS: r"^i\.[A-Za-z0-9._-]{1,64}$",
}


def schema(name: str) -> dict[str, Any]:
    """A reference to one of `SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def rating(id_: str, value: int) -> dict[str, Any]:
    """A rating of an album, as an example."""
    return {
        "id": id_,
        "type": "ratings",
        "href": f"/v1/me/ratings/albums/{id_}",
        "attributes": {"value": value},
    }


RATING_REQUEST_EXAMPLE = {"type": "rating", "attributes": {"value": 1}}
SEVERAL_EXAMPLE = {"ids": {"albums": [FIRST, SECOND], "songs": ["900000001"]}}

SCHEMAS: dict[str, Any] = {
    "Type": {
        "title": "What can be rated",
        "type": "string",
        "enum": [kind.value for kind in Kind],
    },
    "Id": {
        "type": "string",
        "pattern": ID_PATTERN,
        "description": "Of the form that its type has: digits for `albums`, `songs` and `music-videos`; "
        "`pl.…` for `playlists`, `ra.…` for `stations`, `l.…` for `library-albums`, `i.…` for "
        "`library-songs` and `library-music-videos`, `p.…` for `library-playlists`.",
    },
    "Ratings": {
        "type": "object",
        "required": ["data"],
        "properties": {
            "data": {
                "type": "array",
                "items": schema("Rating"),
                "description": "One per rated id, in the order asked, duplicates once. An id that is not "
                "here, nor in `errors`, is unrated.",
            },
            "errors": {
                "type": "array",
                "minItems": 1,
                "items": schema("MissingId"),
                "description": "Only with `Prefer: handling=lenient`: one per id that could not be had.",
            },
        },
    },
    "Rating": {
        "type": "object",
        "required": ["id", "type", "href"],
        "properties": {
            "id": schema("Id"),
            "type": {"const": "ratings"},
            "href": {"type": "string", "pattern": "^/v1/me/ratings/"},
            "attributes": {
                "type": "object",
                "required": ["value"],
                "properties": {"value": schema("Value")},
            },
            "relationships": {
                "type": "object",
                "description": "What `include` asked for, as Apple sent it.",
            },
        },
        "description": "Every field that Apple sent is there, also those not listed here.",
        "examples": [rating(FIRST, 1)],
    },
    "Value": {"type": "integer", "enum": [1, -1], "description": "1 is a like, -1 a dislike."},
    "RatingRequest": {
        "type": "object",
        "required": ["attributes"],
        "properties": {
            "type": {"enum": ["rating", "ratings"], "default": "rating"},
            "attributes": {
                "type": "object",
                "required": ["value"],
                "properties": {"value": schema("Value")},
            },
        },
        "examples": [RATING_REQUEST_EXAMPLE],
    },
    "SeveralRequest": {
        "type": "object",
        "required": ["ids"],
        "additionalProperties": False,
        "properties": {
            "ids": {
                "type": "object",
                "description": "Ids by type; at least one id in all. Answered in this order.",
                "minProperties": 1,
                "additionalProperties": False,
                "properties": {
                    kind.value: {
                        "type": "array",
                        "minItems": 1,
                        "items": {"type": "string", "pattern": pattern},
                    }
                    for kind, pattern in ID_PATTERNS.items()
                },
            },
            "include": {"type": "array", "items": {"type": "string"}, "description": "As the parameter."},
            "extend": {"type": "array", "items": {"type": "string"}, "description": "As the parameter."},
            "l": {"type": "string", "description": "As the parameter."},
        },
        "description": "Blanks around ids and empty pieces are dropped, as in the parameter. `include`, "
        "`extend` and `l` together may have 2,048 characters.",
        "examples": [SEVERAL_EXAMPLE],
    },
    "Errors": {
        "type": "object",
        "required": ["errors"],
        "properties": {"errors": {"type": "array", "minItems": 1, "items": schema("Error")}},
    },
    "Error": {
        "type": "object",
        "required": ["id", "title", "status", "code"],
        "properties": {
            "id": {"type": "string", "description": "Of this one occurrence."},
            "title": {"type": "string"},
            "detail": {"type": "string", "description": "What is wrong, for people."},
            "status": {"type": "string", "pattern": "^[1-5][0-9]{2}$"},
            "code": {"type": "string", "description": "Tells errors of one status apart: see *Errors*."},
            "source": {
                "type": "object",
                "properties": {
                    "parameter": {"type": "string", "description": "The parameter or header at fault."},
                    "pointer": {
                        "type": "string",
                        "description": "JSON pointer to the part of the body at fault.",
                    },
                },
            },
        },
    },
    "MissingId": {
        "allOf": [schema("Error")],
        "type": "object",
        "required": ["source", "meta"],
        "properties": {
            "source": {"type": "object", "properties": {"parameter": {"const": "ids"}}},
            "meta": {
                "type": "object",
                "required": ["type", "id"],
                "properties": {"type": schema("Type"), "id": schema("Id")},
                "description": "Which id could not be had.",
            },
        },
    },
    "RelayedError": {
        "description": "The envelope, or whatever other JSON object Apple answered.",
        "anyOf": [schema("Errors"), {"type": "object"}],
    },
}
