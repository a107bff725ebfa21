"""Which ids, users and times fail at simulated Apple in one run."""

import random
from typing import Final, NamedTuple

from gateway.model import Id, Kind, User
from tests.simulation.apple import Place

HEALTHY: Final = [User.of(name) for name in ("ada", "ben", "cleo")]
DAN, EVE = User.of("dan"), User.of("eve")
USERS: Final = [*HEALTHY, DAN, EVE]
IDS: Final = {Kind.ALBUMS: ["1", "2", "3", "4"], Kind.SONGS: ["5", "6"]}

RUN_SECONDS: Final = 45.0


class BadId(NamedTuple):
    """An id for which every call fails: with 500, or with a 400 that names no source."""

    place: Place
    status: int
    since: float


class BadUser(NamedTuple):
    """A user whom Apple refuses (401, 403), or fails for in every call (500)."""

    user: User
    status: int
    since: float


class Outage(NamedTuple):
    """A time in which every call fails: with a status, or without an answer if it is None."""

    status: int | None
    since: float
    until: float


class FailurePlan:
    """The failures of one run: one kind, or several at once. Times are the loop's, in seconds."""

    def __init__(self, chance: random.Random, start: float) -> None:
        kinds = chance.sample(("id", "user", "outage"), chance.choice((1, 1, 2, 2, 3)))
        unlucky = chance.choice((DAN, EVE))
        self.ids: list[BadId] = []
        self.user: BadUser | None = None
        self.outage: Outage | None = None
        if "id" in kinds:
            place = (unlucky.key, Kind.ALBUMS, Id(chance.choice(IDS[Kind.ALBUMS])))
            self.ids.append(BadId(place, chance.choice((400, 500)), start + _soon(chance)))
        if "user" in kinds:
            self.user = BadUser(EVE, chance.choice((401, 403, 500)), start + _soon(chance))
        if "outage" in kinds:
            since = start + chance.uniform(5.0, 20.0)
            lasting = chance.uniform(1.0, 12.0)
            self.outage = Outage(chance.choice((None, 500, 503)), since, since + lasting)

    def bad_id(self, place: Place, now: float) -> BadId | None:
        return next((bad for bad in self.ids if bad.place == place and bad.since <= now), None)

    def bad_user(self, user_key: bytes, now: float) -> BadUser | None:
        bad = self.user
        return bad if bad is not None and bad.user.key == user_key and bad.since <= now else None

    def outage_at(self, now: float) -> Outage | None:
        """Return the outage that is under way, or None."""
        outage = self.outage
        return outage if outage is not None and outage.since <= now < outage.until else None

    def outage_between(self, since: float, until: float) -> bool:
        """Whether there was an outage at any moment between the two."""
        outage = self.outage
        return outage is not None and outage.since <= until and since < outage.until


def _soon(chance: random.Random) -> float:
    return chance.choice((0.0, chance.uniform(0.0, 20.0)))
