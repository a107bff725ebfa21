"""The ratings that a read may return by the guarantees in the README, independent of the implementation.

A read may always return what Apple reports between its begin and its end. Earlier reports are forbidden if
they are older than an event (a write, a purge) that the gateway must have applied: at once if the event went
through it or if its memory does not hold the id, else after 100 ms, at worst after `local_trust_seconds`.
"""

from typing import NamedTuple

from gateway.model import Id, Kind, Partition, User, UserKind
from tests.truth.apple import Truth, Value
from tests.truth.gateways import FETCH_SECONDS, FRESHNESS, HOLD_SECONDS, TRUST_SECONDS, Written

INVALIDATION_SECONDS = 0.1
LONGEST_LAG = HOLD_SECONDS - TRUST_SECONDS
"""Apple's longest delay for writes through the gateway: shorter than the hold by the time of trust."""
ROUNDING_SECONDS = 1e-6
"""Redis' clock of the model is rounded: its holds end up to so much earlier."""
OLDEST = FRESHNESS.fresh_seconds + FRESHNESS.stale_while_revalidate_seconds + FETCH_SECONDS + 1


class Event(NamedTuple):
    """A gateway that has applied an event serves nothing from before it."""

    at: float
    begun: float
    origin: str
    delivered: bool
    """Whether Redis received it in time."""
    settles: bool
    """Whether ratings fetched in the hold after it are not kept beyond the hold."""
    late: bool = False
    """Whether it is the late delivery of an event to Redis; its own gateway applied it before."""
    purges: bool = False
    """Whether nothing written before it is served past its hold, not even as reported by a write."""


class Read(NamedTuple):
    """One id of one read, and the state of its gateway when it began and ended."""

    gateway: str
    partition: Partition
    id: Id
    began: float
    ended: float
    kept: bool
    """Whether the gateway's local tier held it."""
    in_flight_since: float
    """Begin of the earliest fetch in flight that it may have joined; without one, its own begin."""
    sound_since: float
    """Since when Redis worked for this gateway, until the end of the read; infinite: it did not."""
    subscribed_since: float
    """Since when the gateway received every invalidation; infinite: it did not."""
    no_cache: bool
    stale: bool
    """Whether the answer is marked as stale because Apple failed."""

    @property
    def sound(self) -> bool:
        return self.sound_since <= self.began


class History:
    """All events, and the answers that they allow."""

    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self.writes: list[Written] = []
        self.unsure: set[str] = set()
        """Gateways whose requests may have reached Redis although they failed."""
        self.emptied_at = float("-inf")
        """When Redis last lost its data."""
        self._events: list[tuple[bytes, Kind | None, set[Id] | None, Event]] = []
        self._delivered_late: list[tuple[UserKind, set[Id] | None, str, float]] = []

    def purged(
        self,
        user: User,
        kind: Kind | None,
        ids: set[Id] | None,
        begun: float,
        at: float,
        origin: str,
        delivered: bool,
    ) -> None:
        event = Event(at, begun, origin, delivered, settles=False, purges=True)
        self._events.append((user.key, kind, ids, event))

    def purge_received(
        self, origin: str, user_key: bytes, kind: Kind | None, ids: set[Id] | None, at: float
    ) -> None:
        """Redis executed a purge, in time or late: it applies to the other gateways from now on."""
        event = Event(at, at, origin, delivered=True, settles=False, late=True, purges=True)
        self._events.append((user_key, kind, ids, event))

    def delivered_late(self, origin: str, place: UserKind, ids: set[Id] | None, at: float) -> None:
        self._delivered_late.append((place, ids, origin, at))
        user_key, kind = place
        self._events.append(
            (user_key, kind, ids, Event(at, at, origin, delivered=True, settles=ids is not None, late=True))
        )

    def disturbed(self, user: User, kind: Kind, since: float, now: float) -> bool:
        """Whether an event since then voids fetches of a user's ratings of this kind."""
        writes = [
            moment
            for w in self.writes
            if w.user == user and kind in (w.kind, w.kind.paired)
            for moment in _moments(w, now)
        ]
        events = [
            event.at
            for user_key, each, _, event in self._events
            if user_key == user.key and (each is None or kind in (each, each.paired))
            for event in (event, event._replace(at=event.at + HOLD_SECONDS))
        ]
        return any(since <= moment <= now for moment in (*writes, *events, self.emptied_at))

    def complaint(self, read: Read, value: Value) -> str | None:
        """Why the answer breaks a promise; None if it does not."""
        partition, id_ = read.partition, read.id
        writes = [
            w
            for w in self._of(partition.user, partition.kind, id_)
            if read.stale or not self._overtaken(w, read)
        ]
        extras = {w.value for w in writes if self._may_be_held(w, read)}
        promised = self._promised(read)
        if (
            promised is not None
            and value != promised.value
            and not self._paired_written(read, promised.begun)
        ):
            return f"promised was {promised.value}, written through {promised.gateway} at {promised.answered}"
        since = self._since(read)
        written_since = max(since - HOLD_SECONDS, self._purged_at(read))
        extras |= {w.value for w in writes if w.answered is not None and w.answered >= written_since}
        allowed = extras | self.truth.shown_between(
            partition.user.token, partition.kind, id_, since, read.ended
        )
        return None if value in allowed else f"{sorted(map(str, allowed))} may be returned (since {since})"

    def _purged_at(self, read: Read) -> float:
        """When the id was last purged, as far as the gateway must have applied it."""
        own, _ = self._floors(read)
        purges = [event.begun for event in own if event.purges and self._must_have_applied(read, event)]
        return max(purges, default=float("-inf"))

    def _since(self, read: Read) -> float:
        """Reports of Apple from before this moment may not be returned."""
        since = float("-inf") if read.stale else read.began - OLDEST
        # A rating fetched while Redis did not answer is trusted for TRUST_SECONDS.
        asked = read.in_flight_since - (
            0.0 if read.sound_since <= read.began - TRUST_SECONDS else TRUST_SECONDS
        )
        own, paired = self._floors(read)
        for event in filter(lambda event: self._must_have_applied(read, event), own):
            if not event.settles:
                since = max(since, event.begun)
            elif read.began < event.at + HOLD_SECONDS:
                # A rating fetched while Redis was down may also be served stale later.
                unasked = read.stale and event.at <= read.sound_since
                since = max(since, event.at, float("-inf") if unasked else asked)
            else:
                since = max(since, event.at + LONGEST_LAG)
        # A rating fetched in the hold of a later write on the paired type may be fresh as long as that hold.
        settled = self._paired_settled(read)
        for event in filter(lambda event: self._must_have_applied(read, event) and not read.stale, paired):
            since = max(since, event.at + (LONGEST_LAG if settled else 0.0))
        return max(since, read.in_flight_since) if read.no_cache else since

    def _paired_settled(self, read: Read) -> bool:
        """Whether every hold on the paired type is over."""
        user, paired = read.partition.user, read.partition.kind.paired
        written = [w for w in self.writes if w.user == user and w.kind == paired and w.begun <= read.began]
        holds = [w.begun for w in written] + [w.answered or read.began for w in written]
        holds += [at for place, _, _, at in self._delivered_late if place == (user.key, paired)]
        return all(read.began >= begun + HOLD_SECONDS for begun in holds)

    def _floors(self, read: Read) -> tuple[list[Event], list[Event]]:
        partition = read.partition
        own = [
            event
            for user_key, kind, ids, event in self._events
            if user_key == partition.user.key
            and kind in (None, partition.kind)
            and (ids is None or read.id in ids)
            and event.at <= read.began
        ]
        writes = [w for w in self._of(partition.user, partition.kind, read.id) if _ended(w, read.began)]
        own += map(_event, writes)
        paired = [
            _event(w)
            for w in self.writes
            if w.user == partition.user
            and w.kind == partition.kind.paired
            and _ended(w, read.began)
            and not w.refused
        ]
        return own, paired

    def _must_have_applied(self, read: Read, event: Event) -> bool:
        """Whether the gateway must have applied the event when the read began."""
        if event.origin == read.gateway:
            return event.begun > self.emptied_at and not event.late
        if not event.delivered or event.begun <= self.emptied_at:
            return False
        arrived = read.began >= event.at + INVALIDATION_SECONDS and read.subscribed_since < event.begun
        if arrived:
            return True
        if not read.sound or read.stale:
            return False
        return not read.kept or read.began >= event.at + TRUST_SECONDS

    def _promised(self, read: Read) -> Written | None:
        """The write whose value this read must return."""
        writes = [
            w for w in self._of(read.partition.user, read.partition.kind, read.id) if w.begun <= read.ended
        ]
        if any(w.answered is None or w.answered > read.began for w in writes):
            return None
        effective = [w for w in writes if not w.refused]
        if not effective:
            return None
        last = max(effective, key=lambda w: w.answered or 0.0)
        answered = last.answered or 0.0
        if not last.confirmed or read.began >= answered + HOLD_SECONDS - ROUNDING_SECONDS:
            return None
        if read.gateway != last.gateway and not self._must_have_applied(read, _event(last)):
            return None
        others = [w for w in writes if w is not last and (w.answered or 0.0) >= last.begun]
        if any(w.begun <= answered for w in others):
            return None
        foreign = [w for w in writes if w.gateway != last.gateway]
        if any(not w.delivered for w in foreign) or self._was_delivered_late(
            read, last, own=read.gateway == last.gateway
        ):
            return None
        if read.gateway == last.gateway:
            return last if read.sound or not any(w.gateway != last.gateway for w in others) else None
        sound = (
            read.sound
            and last.delivered
            and all(w.delivered for w in others)
            and last.begun > self.emptied_at
        )
        return last if sound else None

    def _was_delivered_late(self, read: Read, last: Written, *, own: bool) -> bool:
        return any(
            place == (read.partition.user.key, read.partition.kind)
            and (ids is None or read.id in ids)
            and last.begun <= at <= read.ended
            and not (own and origin == last.gateway)
            for place, ids, origin, at in self._delivered_late
        )

    def _paired_written(self, read: Read, since: float) -> bool:
        return any(
            w.user == read.partition.user
            and w.kind == read.partition.kind.paired
            and (w.answered is None or w.answered >= since)
            for w in self.writes
        )

    def _may_be_held(self, written: Written, read: Read) -> bool:
        return written.answered is None or written.answered + HOLD_SECONDS + 1 > read.began

    def _overtaken(self, written: Written, read: Read) -> bool:
        """Whether it may not be served as held any more.

        A favorite came later, or its gateway replayed it, and found that another had written later.
        """
        if any(
            f.favorite and f.accepted and self._must_have_applied(read, _event(f))
            for f in self._of(written.user, written.kind, written.id)
            if _ended(f, read.began) and _ended(written, f.begun)
        ):
            return True
        place, ended = (written.user.key, written.kind), written.answered
        later = [
            w.answered
            for w in self._of(written.user, written.kind, written.id)
            if w.gateway != written.gateway and w.confirmed and w.delivered and w.begun > self.emptied_at
            if ended is not None and w.begun > ended and w.answered is not None
        ]
        return written.gateway not in self.unsure and any(
            place == replayed and origin == written.gateway and min(later, default=at) < at < read.began
            for replayed, ids, origin, at in self._delivered_late
            if ids is not None and written.id in ids
        )

    def _of(self, user: User, kind: Kind, id_: Id) -> list[Written]:
        return [w for w in self.writes if w.user == user and w.kind == kind and w.id == id_]


def _event(written: Written) -> Event:
    at = written.answered or 0.0
    return Event(at, written.begun, written.gateway, written.delivered, settles=not written.refused)


def _ended(written: Written, by: float) -> bool:
    return written.answered is not None and written.answered <= by


def _moments(written: Written, now: float) -> tuple[float, ...]:
    """When a write changes what readers join: its begin, its end, and the end of its hold."""
    if written.answered is None:
        return (now,)
    return (written.begun, written.answered, written.answered + HOLD_SECONDS)
