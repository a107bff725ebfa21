"""A trace of requests as an app makes them, from a seed. Pure.

Each user has a library of albums and songs, drawn by Zipf popularity from one catalog. A *session* is

1. a burst: the home screen asks within some milliseconds for three shelves of 25 ids (recent albums, albums
   for you, songs), each composed anew, so two shelves overlap, and so do two visits;
2. a while later pages of the library: 25 ids each, in an order that stays, so visits repeat these URLs;
3. single lookups of albums that were on the screen;
4. perhaps the home screen again.

Sessions begin at random moments, and in *waves*: many users at once, as after a push message. Times are
compressed: think times and freshness are both `scale` times shorter than in life, the network is not.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from random import Random

import msgspec

from tests.bench.client import Ask
from tests.bench.population import IDS_PER_REQUEST, ROOT, target, token

ALBUMS = 4_000
SONGS = 8_000
LIBRARY = 150
RATED_SHARE = 0.6


class Shape(msgspec.Struct, frozen=True):
    """How much traffic, for how long (seconds of the run)."""

    seconds: float
    users: int
    sessions_per_second: float
    fresh_seconds: int
    """Freshness that every cache is given; 300 in life."""

    @property
    def scale(self) -> float:
        return 300 / self.fresh_seconds


class Listener(msgspec.Struct, frozen=True):
    """A user: the token, and the library in the order in which the app shows it."""

    token: str
    albums: Sequence[str]
    songs: Sequence[str]


class Step(msgspec.Struct, frozen=True, order=True):
    """One request: when (seconds from the start), whose, which ids; a `single` one has its id in the path."""

    moment: float
    user: str
    kind: str
    ids: tuple[str, ...]
    single: bool = False

    @property
    def ask(self) -> Ask:
        if self.single:
            return Ask(f"{ROOT}/{self.kind}/{self.ids[0]}", self.user)
        return Ask(target(self.kind, self.ids), self.user)


def listeners(count: int, seed: int) -> list[Listener]:
    """The users of a trace."""
    random = Random(seed)
    albums = Zipf([str(200_000_000 + number) for number in range(ALBUMS)], random)
    songs = Zipf([str(400_000_000 + number) for number in range(SONGS)], random)
    return [
        Listener(token(10_000 + number), albums.distinct(LIBRARY), songs.distinct(LIBRARY))
        for number in range(count)
    ]


def rated(listener: Listener) -> dict[str, list[str]]:
    """What the user rated, by kind: the same part of the library in each run."""
    keep = Random(listener.token)
    return {
        kind: [id_ for id_ in library if keep.random() < RATED_SHARE]
        for kind, library in (("albums", listener.albums), ("songs", listener.songs))
    }


def steps(shape: Shape, users: Sequence[Listener], seed: int) -> list[Step]:
    """The requests of a trace in their order."""
    random = Random(seed)
    made: list[Step] = []
    for moment in _starts(shape, random):
        made.extend(_session(moment, random.choice(users), shape.scale, random))
    return sorted(step for step in made if step.moment < shape.seconds)


def _starts(shape: Shape, random: Random) -> Iterator[float]:
    """When sessions begin: three quarters alone, one quarter in waves of twelve within 0.2 s."""
    moment = 0.0
    while moment < shape.seconds:
        moment += random.expovariate(shape.sessions_per_second * 0.75)
        yield moment
    waves = round(shape.seconds * shape.sessions_per_second * 0.25 / 12)
    for _ in range(waves):
        wave = random.random() * shape.seconds
        for _ in range(12):
            yield wave + random.random() * 0.2


def _session(start: float, user: Listener, scale: float, random: Random) -> Iterator[Step]:
    """One visit; think times of some seconds, divided by `scale`."""
    shown: list[str] = []
    for step in _home(start, user, random):
        shown.extend(step.ids if step.kind == "albums" else ())
        yield step
    moment = start
    for page in range(random.randint(0, 4)):
        moment += random.uniform(2, 8) / scale
        albums = tuple(user.albums[page * IDS_PER_REQUEST : (page + 1) * IDS_PER_REQUEST])
        shown.extend(albums)
        yield Step(moment, user.token, "albums", albums)
    for _ in range(random.randint(1, 5)):
        moment += random.uniform(3, 20) / scale
        yield Step(moment, user.token, "albums", (random.choice(shown),), single=True)
    if random.random() < 0.5:
        yield from _home(moment + random.uniform(2, 20) / scale, user, random)


def _home(start: float, user: Listener, random: Random) -> Iterator[Step]:
    """Three shelves within 30 ms; what stands first in the library is shown most."""
    for library, kind in ((user.albums, "albums"), (user.albums, "albums"), (user.songs, "songs")):
        shelf = Zipf(library, random, exponent=0.8).distinct(IDS_PER_REQUEST)
        yield Step(start + random.random() * 0.030, user.token, kind, tuple(shelf))


class Zipf:
    """Draws from `items` so that the n-th comes up in proportion to 1 / n ** exponent."""

    def __init__(self, items: Sequence[str], random: Random, *, exponent: float = 1.0) -> None:
        self._items = items
        self._random = random
        self._weights = list(accumulate(1 / n**exponent for n in range(1, len(items) + 1)))

    def distinct(self, count: int) -> list[str]:
        """`count` different items in the order drawn."""
        found: dict[str, None] = {}
        while len(found) < count:
            found.update(dict.fromkeys(self._random.choices(self._items, cum_weights=self._weights, k=count)))
        return list(found)[:count]
