"""Applies faults to an answer that is ready. Pure, except for the given randomness."""

from collections.abc import Callable, Iterable
from random import Random
from typing import Any

import msgspec

from gateway.sandbox import answers
from gateway.sandbox.answers import SandboxAnswer
from gateway.sandbox.faults import (
    CannedReply,
    Effect,
    Extra,
    MaxIds,
    Misshape,
    Next,
    Prefix,
    Reset,
    Shape,
    Shuffle,
    Strangers,
    Valueless,
)
from gateway.sandbox.journal import RecordedCall

Document = dict[str, Any]
RatingResource = dict[str, Any]


def replacement(effects: Iterable[Effect]) -> CannedReply | Reset | MaxIds | None:
    """The first effect that replaces the API's answer, or drops it."""
    return next((effect for effect in effects if isinstance(effect, CannedReply | Reset | MaxIds)), None)


def substitute(
    instead: CannedReply | Reset | MaxIds, call: RecordedCall, random: Random
) -> SandboxAnswer | None:
    """The answer that replaces the API's; None if the connection is reset."""
    match instead:
        case Reset():
            return None
        case MaxIds(limit, 400):
            return answers.refusal(answers.too_many_ids(limit, len(call.ids)), random)
        case MaxIds():
            return answers.refusal(answers.generic(instead.status), random)
    headers = {} if instead.retry_after is None else {"Retry-After": str(instead.retry_after)}
    answer = _reply(instead, random)
    return msgspec.structs.replace(answer, headers={**answer.headers, **headers})


def reshape(
    answer: SandboxAnswer, effects: Iterable[Effect], call: RecordedCall, random: Random
) -> SandboxAnswer:
    """Apply reshaping effects in order, a misshape last, to a 200; other answers are unchanged."""
    chosen = [effect for effect in effects if isinstance(effect, _RESHAPING)]
    if answer.status == 404 and any(isinstance(effect, Valueless) for effect in chosen):
        answer = answers.NONE_RATED
    if answer.status != 200 or not chosen:
        return answer
    document: Any = msgspec.json.decode(answer.body)
    for effect in chosen:
        document = {**document, **_changes(effect, document["data"], call, random)}
    for effect in chosen:
        if isinstance(effect, Misshape):
            document = _SHAPES[effect.shape](document)
            break
    return msgspec.structs.replace(answer, body=msgspec.json.encode(document))


_RESHAPING = (Next, Strangers, Prefix, Shuffle, Valueless, Extra, Misshape)


def _reply(reply: CannedReply, random: Random) -> SandboxAnswer:
    match reply.body:
        case "html":
            return answers.html(reply.status)
        case "capacity":
            return answers.capacity(reply.status)
        case "blames-l":
            return answers.refusal(answers.invalid_language(reply.status), random)
        case "no-errors":
            return answers.no_errors(reply.status)
        case "apple" if reply.status == 200:
            return answers.NONE_RATED
        case "apple" if reply.status not in (204, 401):
            return answers.refusal(answers.generic(reply.status), random)
    return SandboxAnswer(reply.status, headers={})


def _changes(effect: Effect, data: list[RatingResource], call: RecordedCall, random: Random) -> Document:
    match effect:
        case Next():
            return {"next": f"{call.path}?offset={len(data)}"}
        case Strangers(ids):
            return {"data": data + [_resource(call, id_, {"value": 1}) for id_ in ids]}
        case Prefix(text):
            return {"data": [{**resource, "id": text + resource["id"]} for resource in data]}
        case Shuffle():
            return {"data": _shuffled(data, random)}
        case Valueless():
            rated = {resource["id"] for resource in data}
            unrated = [id_ for id_ in dict.fromkeys(call.ids) if id_ not in rated]
            return {"data": data + [_resource(call, id_, {}) for id_ in unrated]}
        case Extra(members):
            return {"data": [{**resource, **members} for resource in data]}
    return {}


def _resource(call: RecordedCall, id_: str, attributes: dict[str, int]) -> RatingResource:
    href = f"/v1/me/ratings/{call.kind}/{id_}"
    return {"attributes": attributes, "href": href, "id": id_, "type": "ratings"}


def _shuffled(data: list[RatingResource], random: Random) -> list[RatingResource]:
    shuffled = random.sample(data, len(data))
    return shuffled[1:] + shuffled[:1] if shuffled == data else shuffled


def _each(change: Callable[[RatingResource], Any]) -> Callable[[Document], Any]:
    return lambda document: {**document, "data": [change(resource) for resource in document["data"]]}


def _without(name: str) -> Callable[[Document], Any]:
    return _each(lambda resource: {key: value for key, value in resource.items() if key != name})


def _with(**members: object) -> Callable[[Document], Any]:
    return _each(lambda resource: {**resource, **members})


_SHAPES: dict[Shape, Callable[[Document], Any]] = {
    "list": lambda document: document["data"],
    "null": lambda _: None,
    "text": lambda _: "ratings",
    "no-data": lambda _: {},
    "data-null": lambda document: {**document, "data": None},
    "data-object": lambda document: {
        **document,
        "data": {resource["id"]: resource for resource in document["data"]},
    },
    "map": lambda document: {
        "data": [{"id": resource["id"], "type": resource["type"]} for resource in document["data"]],
        "resources": {"ratings": {resource["id"]: resource for resource in document["data"]}},
    },
    "errors": lambda document: {
        **document,
        "errors": [{"id": "", "title": "Partial", "status": "500", "code": "50000"}],
    },
    "resource-null": _each(lambda _: None),
    "no-id": _without("id"),
    "id-number": _with(id=1138988512),
    "no-type": _without("type"),
    "wrong-type": _with(type="albums"),
    "value-text": _with(attributes={"value": "1"}),
    "value-zero": _with(attributes={"value": 0}),
    "value-true": _with(attributes={"value": True}),
    "attributes-list": _with(attributes=[1]),
}
