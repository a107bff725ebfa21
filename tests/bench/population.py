"""Users, their ratings and the requests of the measurements by path. Pure, and the same in every run."""

import hashlib
from collections.abc import Iterable, Sequence

from tests.bench.client import Ask

ROOT = "/v1/me/ratings"
IDS_PER_REQUEST = 25
USERS = 64
RATINGS_PER_USER = 100
FIRST_ID = 1_000_000_000


def token(number: int) -> str:
    """A user token as long as Apple's."""
    return hashlib.sha256(f"bench {number}".encode()).hexdigest() * 5


def ids(user: int, count: int) -> list[str]:
    """The ids that a user rated; no two users share one, so a mixed-up answer would show."""
    first = FIRST_ID + user * 100_000
    return [str(first + number) for number in range(count)]


def target(kind: str, asked: Iterable[str]) -> str:
    """The target of a request for many ids."""
    return f"{ROOT}/{kind}?ids={','.join(asked)}"


def lists(count: int, size: int) -> list[Ask]:
    """Requests of `size` ids each, of all users in turn."""
    per_user = RATINGS_PER_USER // size
    return [
        Ask(target("albums", _page(ids(user, RATINGS_PER_USER), page, size)), token(user))
        for page in range(per_user)
        for user in range(USERS)
    ][:count]


def _page(rated: Sequence[str], page: int, size: int) -> Sequence[str]:
    return rated[page * size : (page + 1) * size]
