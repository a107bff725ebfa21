"""Written ratings within their hold: which stand, and how they are laid over what Apple still reports."""

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.cache.entry import Entry
from gateway.cache.redis import SharedLookup
from gateway.cache.write_rule import StoredRating
from gateway.model import Id, Resource


def undisputed(written: Mapping[Id, StoredRating], lookup: SharedLookup) -> dict[Id, StoredRating]:
    """What was written here and stands, though news may have been missed: Redis knows of no later write."""
    if lookup.version is None:
        return dict(written)
    disputed = lookup.held.keys() | (lookup.marks.keys() - lookup.late)
    return {id_: rated for id_, rated in written.items() if id_ not in disputed}


def held_entries(held: Mapping[Id, StoredRating]) -> Mapping[Id, Entry]:
    """Written values as entries that are fresh for as long as they are held."""
    return {
        id_: Entry(rated.resource, rated.fetched_at, rated.fetched_at, rated.held_until or rated.fetched_at)
        for id_, rated in held.items()
    }


def ends_of(held: Mapping[Id, StoredRating], lookup: SharedLookup | None, now: float) -> dict[Id, float]:
    """When each hold ends, of those that stand here and of those that Redis knows of."""
    ends = {id_: rated.held_until or now for id_, rated in held.items()}
    if lookup is not None and lookup.held:
        ends |= {id_: now + found.held_seconds for id_, found in lookup.found.items() if found.held}
    return ends


def overlay(written: Resource, reported: Resource) -> Resource:
    """What a reader is shown: the written value, in the resource that Apple reports where there is one."""
    if written is None or reported is None:
        return written
    shown: dict[str, Any] = msgspec.json.decode(reported)
    shown["attributes"] = (shown.get("attributes") or {}) | msgspec.json.decode(written)["attributes"]
    return msgspec.json.encode(shown)
