"""Invalidation messages between gateways, their gaps and ages, and how long entries are trusted. No I/O.

Redis does not acknowledge publications, and they may be lost. An invalidation therefore only makes a gateway
drop an entry earlier than `local_trust_seconds` would.
"""

from collections import OrderedDict, deque
from typing import Final, Protocol

import msgspec

from gateway.model import Id, Kind

LATE_SECONDS: Final = 0.2
"""A message that is still missing so long after a later one was missed: nodes of a cluster reorder them."""
MAX_ORIGINS: Final = 1000
"""Most gateways whose sequence numbers are followed; those silent for longest are dropped."""
MAX_LATE: Final = 1000
"""Missing messages that are waited for; more count as missed at once."""
OBSERVATIONS: Final = 16
"""Kept by node: those of about 4 seconds of heartbeats, so that drift and steps of a clock are followed."""


class Drop(msgspec.Struct, frozen=True, tag="drop"):
    """These ids of one user and type were written: drop them in every variant."""

    user: bytes
    kind: Kind
    ids: tuple[Id, ...]


class DropPaired(msgspec.Struct, frozen=True, tag="twin"):  # the tag is kept for older releases
    """The type paired with `kind` was written: refetch the user's entries of `kind` before serving them."""

    user: bytes
    kind: Kind


class Purge(msgspec.Struct, frozen=True, tag="purge"):
    """A user's ratings were purged: of one type or of all, these ids or all."""

    user: bytes
    kind: Kind | None = None
    ids: tuple[Id, ...] | None = None


class Throttled(msgspec.Struct, frozen=True, tag="throttled"):
    """Apple answered 429 to a gateway, which lowered its limit of calls in flight: lower this one's too."""

    seconds: float
    """What Apple asked to wait, 0 if it named none. Not used on receipt; kept for older releases."""


Invalidation = Drop | DropPaired | Purge | Throttled


class OnInvalidation(Protocol):
    """Acts on an invalidation from another gateway. Called on the event loop; must not block or raise."""

    def __call__(self, invalidation: Invalidation, /) -> None: ...


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One publication. `origin` is the gateway that sent it; a gateway ignores its own.

    The fields with a default are optional: older releases neither send nor read them.
    """

    origin: str
    invalidations: tuple[Invalidation, ...] = msgspec.field(name="news")  # kept for older releases
    sequence: int = 0
    """Counts the origin's messages from 1, so that a gap shows; 0: not counted."""
    published: int = 0
    """When Redis published it, microseconds by its clock: appended by the script. 0: not sent."""


_decoder = msgspec.json.Decoder(Message)


def encode_message(origin: str, *invalidations: Invalidation, sequence: int = 0) -> bytes:
    """Return the bytes to publish: a JSON object, to which scripts append the time."""
    return msgspec.json.encode(Message(origin, invalidations, sequence))


def decode_message(data: bytes) -> Message:
    """Parse a publication. Raises msgspec.DecodeError."""
    return _decoder.decode(data)


class Sequences:
    """Finds gaps in the sequence numbers of each origin. Pure: times are monotonic seconds."""

    def __init__(self) -> None:
        self._latest: OrderedDict[str, int] = OrderedDict()
        self._late: dict[tuple[str, int], float] = {}
        self._lost = 0

    def reset(self) -> None:
        """Forget earlier numbers: a resubscription ends local trust anyway."""
        self._latest.clear()
        self._late.clear()
        self._lost = 0

    def received(self, origin: str, sequence: int, now: float) -> None:
        """A message arrived; the first one of an origin may have any number."""
        latest = self._latest.setdefault(origin, sequence)
        self._latest.move_to_end(origin)
        if sequence < latest:
            self._late.pop((origin, sequence), None)
            return
        self._latest[origin] = sequence
        if sequence > latest + 1:
            gap = range(latest + 1, sequence)
            room = max(0, MAX_LATE - len(self._late))
            self._late |= {(origin, number): now for number in gap[:room]}
            self._lost += len(gap[room:])
        while len(self._latest) > MAX_ORIGINS:
            self._latest.popitem(last=False)

    def missed(self, now: float) -> int:
        """Return how many messages are found to be missed since this was last asked."""
        if not self._late and not self._lost:
            return 0
        overdue = [late for late, since in self._late.items() if now >= since + LATE_SECONDS]
        for late in overdue:
            del self._late[late]
        lost, self._lost = self._lost, 0
        return lost + len(overdue)


class Continuity:
    """Since when the subscription has been free of gaps, proved by heartbeats that a gateway sends itself.

    Pure: times are monotonic seconds given by the caller. `trust` is how long entries are trusted unproved.
    """

    def __init__(self, trust: float) -> None:
        self._trust = trust
        self._continuous_since = float("inf")
        self._last_beat = float("-inf")
        self._distrusted_before = float("-inf")

    def subscribed(self, now: float) -> None:
        """A new subscription is up: anything published before it may have been missed."""
        self._continuous_since = now
        self._last_beat = float("-inf")

    def beat_received(self, sent_at: float, now: float) -> None:
        """The heartbeat sent at `sent_at` came back: everything published before it has arrived."""
        if sent_at > self._last_beat + self._trust > float("-inf"):
            self._continuous_since = now
        self._last_beat = max(self._last_beat, sent_at)

    def distrust_before(self, now: float) -> None:
        """Trust nothing from before `now`: invalidations came from another server until then."""
        self._distrusted_before = now
        self._continuous_since = float("inf")
        self._last_beat = float("-inf")

    def up(self, now: float) -> bool:
        """Whether invalidations arrive."""
        return now <= self._last_beat + self._trust

    def trusted_since(self, now: float) -> float:
        """Entries older than this may have missed an invalidation: they need a lookup in Redis."""
        since = now - self._trust
        if since <= self._last_beat and self._continuous_since < since:
            since = self._continuous_since
        return max(since, self._distrusted_before)


class ServerTime:
    """What Redis' clock shows, by node. Pure: times are seconds, monotonic or of Redis' clock.

    Of the kept round trips the shortest counts: the estimate errs by half of its duration at most.
    """

    def __init__(self) -> None:
        self._observed: dict[str, deque[tuple[float, float]]] = {}

    def observe(self, node: str, sent_at: float, received_at: float, redis_time: float) -> None:
        """`node` answered at `redis_time` a request that took from `sent_at` to `received_at`."""
        offset = redis_time - (sent_at + received_at) / 2
        observed = self._observed.setdefault(node, deque(maxlen=OBSERVATIONS))
        observed.append((received_at - sent_at, offset))

    def reset(self) -> None:
        """Start over: another server may answer by the same name."""
        self._observed.clear()

    def at(self, node: str, moment: float) -> float | None:
        """Return what the clock of `node` shows at `moment` (monotonic); None if it did not answer yet."""
        observed = self._observed.get(node)
        return moment + min(observed)[1] if observed else None
