"""What Apple's ratings API says to a request, by the state of the sandbox. No I/O, no waiting.

The order of the checks: type (400 `40008`), method (405), user token (403, 400 `40015`), then ids and body;
the developer token (401) was checked before. Apple documents no order; a client must not depend on it.
"""

from random import Random

import msgspec

from gateway.model import Kind
from gateway.sandbox import answers
from gateway.sandbox.answers import Answer, Problem
from gateway.sandbox.store import Standing, Store


class Request(msgspec.Struct, frozen=True, gc=False):
    """What counts of one HTTP request to the ratings API."""

    method: str
    type: str
    """The path segment behind `ratings`, whatever it says."""
    kind: Kind | None
    id: str | None
    """The last path segment; None on the form with `ids`."""
    ids: tuple[str, ...]
    """The ids asked for: `id` alone, or the pieces of all `ids` parameters that are not blank."""
    has_ids: bool
    """Whether there was an `ids` parameter at all."""
    include: frozenset[str]
    language: str | None
    user_token: str | None
    body: bytes = b""


class Api:
    """Answers requests. `max_ids` is the largest number of ids taken in one call and may be changed."""

    def __init__(self, store: Store, *, max_ids: int, random: Random) -> None:
        self._store = store
        self.max_ids = max_ids
        self._random = random

    def answer(self, request: Request, *, now: float, lag: float = 0.0) -> Answer:
        """Answer a request whose developer token is good. `now` is monotonic; a write shows `lag` later.

        A DELETE of what is not rated is answered 204 (Apple's answer is not known).
        """
        kind, id_ = request.kind, request.id
        if kind is None:
            return self.refuse(answers.unknown_type(request.type))
        problem = self._objection(kind, request)
        if problem is not None:
            return self.refuse(problem)
        if id_ is None or request.method == "GET":
            return self._read(kind, request, now)
        value = _asked_value(request.body) if request.method == "PUT" else None
        if isinstance(value, Problem):
            return self.refuse(value)
        self._store.write(request.user_token or "", kind, id_, value, now=now, lag=lag)
        return Answer(204, headers={}) if value is None else Answer(200, answers.ratings(kind, {id_: value}))

    def refuse(self, problem: Problem) -> Answer:
        return answers.refusal(problem, self._random)

    def _objection(self, kind: Kind, request: Request) -> Problem | None:
        allowed = ("GET",) if request.id is None else ("GET", "PUT", "DELETE")
        if request.method not in allowed:
            return answers.method_not_allowed(", ".join(allowed))
        account = self._store.holder(request.user_token or "")
        if account is None or account.standing is Standing.REVOKED:
            return answers.INVALID_AUTHENTICATION
        if account.standing is Standing.UNSUBSCRIBED:
            return answers.NO_SUBSCRIPTION
        if request.id is not None:
            return None if kind.admits(request.id) else answers.invalid_path_id(kind, request.id)
        return self._objection_to_ids(kind, request)

    def _objection_to_ids(self, kind: Kind, request: Request) -> Problem | None:
        if not request.ids:
            return answers.EMPTY_IDS if request.has_ids else answers.MISSING_IDS
        if len(request.ids) > self.max_ids:
            return answers.too_many_ids(self.max_ids, len(request.ids))
        foreign = [id_ for id_ in request.ids if not kind.admits(id_)]
        return answers.invalid_ids(kind, foreign) if foreign else None

    def _read(self, kind: Kind, request: Request, now: float) -> Answer:
        values = self._store.read(request.user_token or "", kind, request.ids, now=now)
        if request.id is not None and not values:
            return self.refuse(answers.RESOURCE_NOT_FOUND)
        if "content" in request.include:
            return Answer(200, answers.ratings_with_content(kind, values, request.language))
        return Answer(200, answers.ratings(kind, values))


def _asked_value(body: bytes) -> int | Problem:
    """The value of a RatingRequest, whose `type` may be `rating`, `ratings` or absent."""
    try:
        document = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return answers.invalid_body("The body is no JSON", "")
    if not isinstance(document, dict):
        return answers.invalid_body("The body is no object", "")
    if document.get("type", "rating") not in ("rating", "ratings"):
        return answers.invalid_body("type is not 'rating'", "/type")
    attributes = document.get("attributes")
    if not isinstance(attributes, dict):
        return answers.invalid_body("attributes is missing, or no object", "/attributes")
    value = attributes.get("value")
    if type(value) is not int or value not in (1, -1):
        return answers.invalid_body("value is neither 1 nor -1", "/attributes/value")
    return value
