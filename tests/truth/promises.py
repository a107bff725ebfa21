"""What a read may return, by contract section 6, whatever the gateways did to come by it.

A read may always return what Apple reports while it lasts. Of what Apple reported before, everything is
barred that is older than an event (a write, a purge) of which the gateway must know by then: at once where
the event went through it or where it does not hold the id, else after 100 ms, at worst after the trust.
"""

from typing import NamedTuple

from gateway.cache.redis.retry_queue import Place
from gateway.model import Id, Kind, Partition, User
from tests.truth.apple import Truth, Value
from tests.truth.gateways import FETCH_SECONDS, FRESHNESS, HOLD_SECONDS, TRUST_SECONDS, Written

NEWS_SECONDS = 0.1
LONGEST_LAG = HOLD_SECONDS - TRUST_SECONDS
"""Apple's, of writes through the gateway: promised is the hold, and trust may add to what is believed."""
OLDEST = FRESHNESS.fresh_seconds + FRESHNESS.stale_while_revalidate_seconds + FETCH_SECONDS + 1


class Event(NamedTuple):
    """After it, who knows of it uses nothing from before it."""

    at: float
    begun: float
    origin: str
    told: bool
    """Whether Redis heard of it in its time."""
    settles: bool
    """Whether what is fetched in the hold after it is not kept beyond the hold."""
    late: bool = False
    """Whether it is that Redis heard at last; where it came from, it was known long ago."""


class Read(NamedTuple):
    """One id of one read, and what could be known when it began and ended."""

    gateway: str
    partition: Partition
    id: Id
    began: float
    ended: float
    kept: bool
    """Whether the gateway's local tier held it."""
    aloft_since: float
    """Since when a fetch of it was under way that it may have joined; else when it began."""
    sound_since: float
    """Since when this gateway's Redis was all right, to the end of the read; infinite: it was not."""
    news_since: float
    """Since when the gateway had all news; infinite: it did not have it."""
    no_cache: bool
    stale: bool
    """Whether it says that stale ratings stand in because Apple failed."""

    @property
    def sound(self) -> bool:
        return self.sound_since <= self.began


class History:
    """Everything that happened, and so what was promised."""

    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self.writes: list[Written] = []
        self.emptied_at = float("-inf")
        """When Redis last lost everything."""
        self._events: list[tuple[bytes, Kind | None, set[Id] | None, Event]] = []
        self._told_late: list[tuple[Place, set[Id] | None, str, float]] = []

    def purged(
        self,
        user: User,
        kind: Kind | None,
        ids: set[Id] | None,
        begun: float,
        at: float,
        origin: str,
        told: bool,
    ) -> None:
        self._events.append((user.key, kind, ids, Event(at, begun, origin, told, settles=False)))

    def told_late(self, origin: str, place: Place, ids: set[Id] | None, at: float) -> None:
        self._told_late.append((place, ids, origin, at))
        user_key, kind = place
        self._events.append(
            (user_key, kind, ids, Event(at, at, origin, told=True, settles=ids is not None, late=True))
        )

    def disturbed(self, user: User, kind: Kind, since: float, now: float) -> bool:
        """Whether anything happened to a user's ratings of a kind that voids fetches under way."""
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
        """What is wrong with the answer; None: nothing."""
        partition, id_ = read.partition, read.id
        extras = {
            w.value for w in self._of(partition.user, partition.kind, id_) if self._may_be_held(w, read)
        }
        promised = self._promised(read)
        if promised is not None and value != promised.value and not self._twin_written(read, promised.begun):
            return f"promised was {promised.value}, written through {promised.gateway} at {promised.answered}"
        since = self._since(read)
        extras |= {
            w.value
            for w in self._of(partition.user, partition.kind, id_)
            if w.answered is not None and w.answered >= since - HOLD_SECONDS
        }
        allowed = extras | self.truth.shown_between(
            partition.user.token, partition.kind, id_, since, read.ended
        )
        return None if value in allowed else f"{sorted(map(str, allowed))} may be returned (since {since})"

    def _since(self, read: Read) -> float:
        """What Apple reported before that moment may not be returned."""
        since = float("-inf") if read.stale else read.began - OLDEST
        # What was fetched while Redis could not be asked is believed for the seconds of trust.
        asked = read.aloft_since - (0.0 if read.sound_since <= read.began - TRUST_SECONDS else TRUST_SECONDS)
        own, paired = self._floors(read)
        for event in filter(lambda event: self._knows(read, event), own):
            if not event.settles:
                since = max(since, event.begun)
            elif read.began < event.at + HOLD_SECONDS:
                # What came while Redis was away may stand in for Apple later, too.
                unasked = read.stale and event.at <= read.sound_since
                since = max(since, event.at, float("-inf") if unasked else asked)
            else:
                since = max(since, event.at + LONGEST_LAG)
        # What was fetched in the hold of a later write on the twin may be fresh as long as that hold.
        settled = self._twin_settled(read)
        for event in filter(lambda event: self._knows(read, event) and not read.stale, paired):
            since = max(since, event.at + (LONGEST_LAG if settled else 0.0))
        return max(since, read.aloft_since) if read.no_cache else since

    def _twin_settled(self, read: Read) -> bool:
        """Whether every hold that a write on the twin kind began is over."""
        user, paired = read.partition.user, read.partition.kind.paired
        written = [w for w in self.writes if w.user == user and w.kind == paired and w.begun <= read.began]
        holds = [w.begun for w in written] + [w.answered or read.began for w in written]
        holds += [at for place, _, _, at in self._told_late if place == (user.key, paired)]
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
        for written in writes:
            # A refused write leaves nothing in its place, not even that the end of another is unknown.
            over = any(w.refused and w.begun >= written.begun for w in writes) and not written.confirmed
            own.append(_event(written)._replace(settles=not over))
        paired = [
            _event(w)
            for w in self.writes
            if w.user == partition.user
            and w.kind == partition.kind.paired
            and _ended(w, read.began)
            and not w.refused
        ]
        return own, paired

    def _knows(self, read: Read, event: Event) -> bool:
        """Whether the gateway must have known of the event when it was asked."""
        if event.origin == read.gateway:
            return event.begun > self.emptied_at and not event.late
        if not event.told or event.begun <= self.emptied_at:
            return False
        heard = read.began >= event.at + NEWS_SECONDS and read.news_since < event.begun
        if heard:
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
        if not last.confirmed or read.began >= answered + HOLD_SECONDS:
            return None
        if read.gateway != last.gateway and not self._knows(read, _event(last)):
            return None
        others = [w for w in writes if w is not last and (w.answered or 0.0) >= last.begun]
        if any(w.begun <= answered for w in others):
            return None
        foreign = [w for w in writes if w.gateway != last.gateway]
        if any(not w.told for w in foreign) or self._was_told_late(
            read, last, own=read.gateway == last.gateway
        ):
            return None
        if read.gateway == last.gateway:
            return last if read.sound or not any(w.gateway != last.gateway for w in others) else None
        sound = read.sound and last.told and all(w.told for w in others) and last.begun > self.emptied_at
        return last if sound else None

    def _was_told_late(self, read: Read, last: Written, *, own: bool) -> bool:
        return any(
            place == (read.partition.user.key, read.partition.kind)
            and (ids is None or read.id in ids)
            and last.begun <= at <= read.ended
            and not (own and origin == last.gateway)
            for place, ids, origin, at in self._told_late
        )

    def _twin_written(self, read: Read, since: float) -> bool:
        return any(
            w.user == read.partition.user
            and w.kind == read.partition.kind.paired
            and (w.answered is None or w.answered >= since)
            for w in self.writes
        )

    def _may_be_held(self, written: Written, read: Read) -> bool:
        return written.answered is None or written.answered + HOLD_SECONDS + 1 > read.began

    def _of(self, user: User, kind: Kind, id_: Id) -> list[Written]:
        return [w for w in self.writes if w.user == user and w.kind == kind and w.id == id_]


def _event(written: Written) -> Event:
    at = written.answered or 0.0
    return Event(at, written.begun, written.gateway, written.told, settles=not written.refused)


def _ended(written: Written, by: float) -> bool:
    return written.answered is not None and written.answered <= by


def _moments(written: Written, now: float) -> tuple[float, ...]:
    """When a write changes what readers join: its begin, its end, and the end of its hold."""
    if written.answered is None:
        return (now,)
    return (written.begun, written.answered, written.answered + HOLD_SECONDS)
