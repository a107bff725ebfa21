"""A trace of requests as an app makes them, from a seed. Pure.

Each user has a library of albums, songs and playlists, drawn by Zipf popularity from one catalog, and picks
that the service makes for the user, half of them from the library. A *session* begins with the home screen
and goes on with albums played, pages of the library, and the home screen again:

- the home screen is eight shelves of 12 or 25 ids that ask for themselves within 5 ms: what was played last
  (the same ids mostly, in another order), picks and favourites (25 of 30, 12 of 15, composed anew each time),
  and what was added last. Shelves share ids with each other, with earlier visits and with pages;
- playing an album looks up its rating alone, now and then twice at once, as two parts of a screen do; one
  play in seven ends with a rating given, changed or taken back;
- a scroll through the library asks for two pages of 25 ids, in an order that stays.

Sessions begin at random moments, and in *waves*: many users at once, as after a push message. Times are
compressed: think times and freshness are both `scale` times shorter than in life, the network is not.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from random import Random

import msgspec

from tests.bench.client import Ask
from tests.bench.population import IDS_PER_REQUEST, RATINGS, target, token

CATALOG = {"albums": 4_000, "songs": 8_000, "playlists": 1_000}
PREFIX = {"albums": "2", "songs": "4", "playlists": "pl.bench"}
LIBRARY = 100
PICKS = 30
LONG, SHORT = IDS_PER_REQUEST, 12
WRITE_SHARE = 1 / 7
WAVE_USERS = 12
WAVE_SECONDS = 0.2
HOME_SECONDS = 0.005
TWICE_SECONDS = 0.005


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
    """A user: the token, and by kind the library in the order in which the app shows it, and the picks."""

    token: str
    library: dict[str, list[str]]
    picks: dict[str, list[str]]


class Step(msgspec.Struct, frozen=True, order=True):
    """One request: when (seconds from the start), whose, which ids; a `single` one has its id in the path.

    `value` is what a write rates (1 or -1), 0 for a DELETE, None for a read.
    """

    moment: float
    user: str
    kind: str
    ids: tuple[str, ...]
    single: bool = False
    value: int | None = None

    @property
    def ask(self) -> Ask:
        if not self.single:
            return Ask(target(self.kind, self.ids), self.user)
        path = f"{RATINGS}/{self.kind}/{self.ids[0]}"
        if self.value is None:
            return Ask(path, self.user)
        if self.value == 0:
            return Ask(path, self.user, "DELETE")
        body = f'{{"type":"rating","attributes":{{"value":{self.value}}}}}'
        return Ask(path, self.user, "PUT", body)


def listeners(count: int, seed: int) -> list[Listener]:
    """The users of a trace."""
    random = Random(seed)
    catalog = {
        kind: Zipf([f"{PREFIX[kind]}{number:08}" for number in range(size)], random)
        for kind, size in CATALOG.items()
    }
    made = []
    for number in range(count):
        library = {kind: items.distinct(LIBRARY) for kind, items in catalog.items()}
        picks = {kind: _picks(library[kind], items, random) for kind, items in catalog.items()}
        made.append(Listener(token(10_000 + number), library, picks))
    return made


def steps(shape: Shape, users: Sequence[Listener], seed: int) -> list[Step]:
    """The requests of a trace in their order."""
    random = Random(seed)
    visitors = [_Visitor(user, shape.scale, random) for user in users]
    made: list[Step] = []
    for moment in sorted(_starts(shape, random)):
        made.extend(random.choice(visitors).session(moment))
    return sorted(step for step in made if step.moment < shape.seconds)


def _starts(shape: Shape, random: Random) -> Iterator[float]:
    """When sessions begin: three quarters of them alone, the others in waves."""
    moment = random.expovariate(shape.sessions_per_second * 0.75)
    while moment < shape.seconds:
        yield moment
        moment += random.expovariate(shape.sessions_per_second * 0.75)
    for _ in range(round(shape.seconds * shape.sessions_per_second * 0.25 / WAVE_USERS)):
        wave = random.random() * shape.seconds
        for _ in range(WAVE_USERS):
            yield wave + random.random() * WAVE_SECONDS


def _picks(library: Sequence[str], catalog: "Zipf", random: Random) -> list[str]:
    others = [id_ for id_ in catalog.distinct(LIBRARY + PICKS) if id_ not in library]
    return random.sample(library, PICKS // 2) + others[: PICKS // 2]


class _Visitor:
    """A user, and what was played last."""

    def __init__(self, user: Listener, scale: float, random: Random) -> None:
        self._user = user
        self._scale = scale
        self._random = random
        self._recent = {kind: random.sample(library, LONG) for kind, library in user.library.items()}
        self._favourites = Zipf(user.library["albums"], random)
        self._scrolled = 0

    def session(self, moment: float) -> Iterator[Step]:
        """One visit: some minutes of life, with 4 to 15 seconds from one thing to the next."""
        yield from self._home(moment)
        for _ in range(self._random.randint(8, 20)):
            moment += self._random.uniform(4, 15) / self._scale
            what = self._random.random()
            if what < 0.4:
                yield from self._play(moment)
            elif what < 0.75:
                yield from self._home(moment)
            else:
                yield from self._scroll(moment)

    def _home(self, moment: float) -> Iterator[Step]:
        user, recent = self._user, self._recent
        shelves = (
            ("albums", recent["albums"]),
            ("albums", self._random.sample(user.picks["albums"], LONG)),
            ("albums", self._favourites.distinct(SHORT)),
            ("albums", user.library["albums"][:LONG]),
            ("songs", recent["songs"]),
            ("songs", self._random.sample(user.picks["songs"], LONG)),
            ("playlists", recent["playlists"][:SHORT]),
            ("playlists", self._random.sample(user.picks["playlists"][: PICKS // 2], SHORT)),
        )
        for kind, shelf in shelves:
            yield self._step(moment + self._random.random() * HOME_SECONDS, kind, shelf)

    def _play(self, moment: float) -> Iterator[Step]:
        album = self._random.choice((self._random.choice(self._recent["albums"]), self._favourites.one()))
        for _ in range(2 if self._random.random() < 0.2 else 1):
            step = self._step(moment + self._random.random() * TWICE_SECONDS, "albums", [album])
            yield msgspec.structs.replace(step, single=True)
        if self._random.random() < WRITE_SHARE:
            step = self._step(moment + self._random.uniform(1, 4) / self._scale, "albums", [album])
            yield msgspec.structs.replace(step, single=True, value=self._random.choice((1, 1, -1, 0)))
        self._remember("albums", album)
        self._remember("songs", self._random.choice(self._user.picks["songs"] + self._recent["songs"]))
        if self._random.random() < 0.3:
            self._remember("playlists", self._random.choice(self._user.picks["playlists"]))

    def _scroll(self, moment: float) -> Iterator[Step]:
        for _ in range(2):
            start = self._scrolled % (LIBRARY // LONG) * LONG
            yield self._step(moment, "albums", self._user.library["albums"][start : start + LONG])
            self._scrolled += 1

    def _remember(self, kind: str, id_: str) -> None:
        others = [other for other in self._recent[kind] if other != id_]
        self._recent[kind] = [id_, *others][:LONG]

    def _step(self, moment: float, kind: str, shelf: Sequence[str]) -> Step:
        return Step(moment, self._user.token, kind, tuple(shelf))


class Zipf:
    """Draws from `items` so that the n-th comes up in proportion to 1 / n ** exponent."""

    def __init__(self, items: Sequence[str], random: Random, *, exponent: float = 1.0) -> None:
        self._items = items
        self._random = random
        self._weights = list(accumulate(1 / n**exponent for n in range(1, len(items) + 1)))

    def one(self) -> str:
        return self._random.choices(self._items, cum_weights=self._weights)[0]

    def distinct(self, count: int) -> list[str]:
        """`count` different items in the order drawn."""
        found: dict[str, None] = {}
        while len(found) < count:
            found.update(dict.fromkeys(self._random.choices(self._items, cum_weights=self._weights, k=count)))
        return list(found)[:count]
