"""Users, their ratings, and the lists of ids that requests ask for. Pure, and the same in every run."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from zlib import crc32

from tests.bench.client import Ask

RATINGS = "/v1/me/ratings"
IDS_PER_REQUEST = 25
USERS = 64
RATINGS_PER_USER = 100
FIRST_ID = 1_000_000_000
DISLIKED_PERCENT = 10


def token(number: int) -> str:
    """A user token as long as Apple's."""
    return hashlib.sha256(f"bench {number}".encode()).hexdigest() * 5


def ids(user: int, count: int) -> list[str]:
    """The ids that a user rated; no two users share one, so a mixed-up answer would show."""
    first = FIRST_ID + user * 100_000
    return [str(first + number) for number in range(count)]


def initial_value(user: str, kind: str, id_: str, rated_percent: int) -> int:
    """What the user rated before the run: 1, -1, or 0 for unrated."""
    drawn = crc32(f"{user[-64:]}{kind}{id_}".encode()) % 100
    return 0 if drawn >= rated_percent else -1 if drawn < DISLIKED_PERCENT else 1


def target(kind: str, asked: Iterable[str]) -> str:
    """The target of a request for many ids."""
    return f"{RATINGS}/{kind}?ids={','.join(asked)}"


def new_lists(random: Random) -> Iterator[Ask]:
    """Endless requests, each for another sample of its user's ratings: none repeats an earlier list."""
    rated = [ids(user, RATINGS_PER_USER) for user in range(USERS)]
    tokens = [token(user) for user in range(USERS)]
    while True:
        for user in range(USERS):
            yield Ask(target("albums", random.sample(rated[user], IDS_PER_REQUEST)), tokens[user])


def repeated_lists() -> list[Ask]:
    """The same 256 lists in every run: four of each user, which hold all that the user rated."""
    return list(partitioned_lists(range(USERS)))


def partitioned_lists(users: Sequence[int]) -> Iterator[Ask]:
    """Lists that hold every rating of these users once, users in turn."""
    for start in range(0, RATINGS_PER_USER, IDS_PER_REQUEST):
        for user in users:
            page = ids(user, RATINGS_PER_USER)[start : start + IDS_PER_REQUEST]
            yield Ask(target("albums", page), token(user))
