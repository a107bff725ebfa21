"""Ratings as the JSON resources of an answer."""

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.model import Id, Kind, Rating, plain_resource, ratings_path

_HEAD, _BETWEEN = '{"id":"', ',{"id":"'
_MIDDLE = {kind: f'","type":"ratings","href":"{ratings_path(kind)}/' for kind in Kind}
_TAIL = {value: f'","attributes":{{"value":{value}}}}}' for value in (1, -1)}
"""A plain resource is head, id, middle, id, tail: joining these is twice as fast as formatting each."""


def render(kind: Kind, ids: Sequence[Id], ratings: Sequence[Rating]) -> bytes:
    """Render the resources of the rated ids, separated by commas; unrated ids are left out."""
    middle, tail = _MIDDLE[kind], _TAIL
    rated = zip(ids, ratings, strict=True)
    try:
        listed = [f"{id_}{middle}{id_}{tail[rating]}" for id_, rating in rated if rating is not None]  # type: ignore[index]
    except KeyError:  # some have more fields than their rating
        return b",".join(
            [
                rating if isinstance(rating, bytes) else plain_resource(kind, id_, rating)
                for id_, rating in zip(ids, ratings, strict=True)
                if rating is not None
            ]
        )
    return (_HEAD + _BETWEEN.join(listed)).encode() if listed else b""


def overlay(written: Rating, reported: Rating) -> Rating:
    """Return the rating to serve within a hold: the written value, in the resource that Apple reports."""
    if written is None or not isinstance(reported, bytes):
        return written
    shown: dict[str, Any] = msgspec.json.decode(reported)
    attributes = (
        msgspec.json.decode(written)["attributes"] if isinstance(written, bytes) else {"value": written}
    )
    shown["attributes"] = (shown.get("attributes") or {}) | attributes
    return msgspec.json.encode(shown)
