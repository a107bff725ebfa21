"""Answers requests as Apple's ratings API does, from the state of the sandbox. No I/O, no waiting.

The order of the checks: type (400 `40008`), method (405), user token (403, 400 `40015`), then ids and body;
the developer token (401) was checked before. Apple documents no order; clients must not depend on it.
"""

from random import Random

import msgspec

from gateway.model import Kind
from gateway.sandbox import answers
from gateway.sandbox.answers import Problem, SandboxAnswer
from gateway.sandbox.store import RatingStore, Standing


class RatingsRequest(msgspec.Struct, frozen=True, gc=False):
    """One HTTP request to the ratings API."""

    method: str
    """GET for HEAD too."""
    type: str
    """The path segment after `ratings`."""
    kind: Kind | None
    id: str | None
    """The last path segment; None in the form with `ids`."""
    ids: tuple[str, ...]
    """`id` alone, or the non-blank pieces of all `ids` parameters."""
    has_ids: bool
    """Whether there was an `ids` parameter."""
    include: frozenset[str]
    language: str | None
    user_token: str | None
    body: bytes = b""


class Favorites(msgspec.Struct, frozen=True, gc=False):
    """One HTTP request to `/v1/me/favorites`: POST adds, DELETE removes."""

    method: str
    ids: tuple[tuple[str, str], ...]
    """Type and id of each, in the order sent; types that have no ratings are accepted."""
    user_token: str | None


class RatingsApi:
    """Answers requests. `max_ids` is the most ids accepted in one call; it may be changed."""

    def __init__(self, store: RatingStore, *, max_ids: int, random: Random) -> None:
        self._store = store
        self.max_ids = max_ids
        self._random = random

    def answer(self, request: RatingsRequest, *, now: float, lag: float = 0.0) -> SandboxAnswer:
        """Answer a request whose developer token is valid. `now` is monotonic; a write shows `lag` later.

        A DELETE of an unrated id is answered 204 (what Apple answers is undocumented).
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
        return (
            SandboxAnswer(204, headers={})
            if value is None
            else SandboxAnswer(200, answers.ratings(kind, {id_: value}))
        )

    def answer_favorites(self, request: Favorites, *, now: float, lag: float = 0.0) -> SandboxAnswer:
        """Like added ids, and unrate removed ones; 202 without a body."""
        problem = self._objection_to_user(request.user_token)
        if problem is None and request.method not in ("POST", "DELETE"):
            problem = answers.method_not_allowed("POST, DELETE")
        if problem is None and not request.ids:
            problem = answers.MISSING_IDS
        rated = [(Kind(type_), id_) for type_, id_ in request.ids if type_ in _TYPES]
        for kind, id_ in rated:
            if problem is None and not kind.admits(id_):
                problem = answers.invalid_ids(kind, [id_])
        if problem is not None:
            return self.refuse(problem)
        for kind, id_ in rated:
            value = 1 if request.method == "POST" else None
            self._store.write(request.user_token or "", kind, id_, value, now=now, lag=lag)
        return answers.ACCEPTED

    def refuse(self, problem: Problem) -> SandboxAnswer:
        """Apple's answer to a request with this problem."""
        return answers.refusal(problem, self._random)

    def _objection(self, kind: Kind, request: RatingsRequest) -> Problem | None:
        allowed = ("GET",) if request.id is None else ("GET", "PUT", "DELETE")
        if request.method not in allowed:
            return answers.method_not_allowed(", ".join(("GET", "HEAD", *allowed[1:])))
        problem = self._objection_to_user(request.user_token)
        if problem is not None:
            return problem
        if request.id is not None:
            return None if kind.admits(request.id) else answers.invalid_path_id(kind, request.id)
        return self._objection_to_ids(kind, request)

    def _objection_to_user(self, token: str | None) -> Problem | None:
        account = self._store.holder(token or "")
        if account is None or account.standing is Standing.REVOKED:
            return answers.INVALID_AUTHENTICATION
        return answers.NO_SUBSCRIPTION if account.standing is Standing.UNSUBSCRIBED else None

    def _objection_to_ids(self, kind: Kind, request: RatingsRequest) -> Problem | None:
        if not request.ids:
            return answers.EMPTY_IDS if request.has_ids else answers.MISSING_IDS
        if len(request.ids) > self.max_ids:
            return answers.too_many_ids(self.max_ids, len(request.ids))
        foreign = [id_ for id_ in request.ids if not kind.admits(id_)]
        return answers.invalid_ids(kind, foreign) if foreign else None

    def _read(self, kind: Kind, request: RatingsRequest, now: float) -> SandboxAnswer:
        values = self._store.read(request.user_token or "", kind, request.ids, now=now)
        if request.id is not None and not values:
            return self.refuse(answers.RESOURCE_NOT_FOUND)
        if "content" in request.include:
            return SandboxAnswer(200, answers.ratings_with_content(kind, values, request.language))
        return SandboxAnswer(200, answers.ratings(kind, values))


_TYPES = frozenset(Kind)


def _asked_value(body: bytes) -> int | Problem:
    """The value of a RatingRequest, whose `type` may be `rating`, `ratings` or absent."""
    try:
        document = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return answers.invalid_body("The body is not JSON", "")
    if not isinstance(document, dict):
        return answers.invalid_body("The body is not an object", "")
    if document.get("type", "rating") not in ("rating", "ratings"):
        return answers.invalid_body("type is not 'rating'", "/type")
    attributes = document.get("attributes")
    if not isinstance(attributes, dict):
        return answers.invalid_body("attributes is missing, or not an object", "/attributes")
    value = attributes.get("value")
    if type(value) is not int or value not in (1, -1):
        return answers.invalid_body("value is neither 1 nor -1", "/attributes/value")
    return value
