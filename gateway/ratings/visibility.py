"""Visibility checks: after a sampled share of writes, every gateway checks that it serves no older rating.

The gateway that wrote announces the write through Redis, and checks it whether or not the announcement
arrives. 0.1, 1 and 5 seconds after the publication each gateway looks at what it would serve then, without
fetching or storing anything, and compares it with the value that was written. A gateway without Redis checks
its own writes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from enum import StrEnum
from typing import Final

import msgspec
from structlog.typing import FilteringBoundLogger

from gateway.cache.announcement import Announcement, Sampled, value_digest
from gateway.cache.lookup import Lookup, held_entries
from gateway.clock import MICROSECONDS, Clock
from gateway.model import PLAIN, Id, Kind, Partition, Rating, User
from gateway.ratings.partition_read import PartitionRead, Sources
from gateway.ratings.plan import ReadPlan
from gateway.ratings.query import NO_DIRECTIVES, Part, Query
from gateway.tasks import Tasks
from gateway.telemetry.metrics import Metrics

AFTER_SECONDS: Final = (0.1, 1.0, 5.0)
"""After the publication. The first is when the write should be visible everywhere (README: guarantees)."""
TIERS: Final = ("local", "shared")
MAX_CHECKED: Final = 10_000
"""Most writes that are checked at the same time; further ones are not checked here."""
MARGIN_SECONDS: Final = 0.2
"""Uncertainty of the end of a hold in seconds: clocks are estimated, and checks are delayed."""
SAME_WRITE_SECONDS: Final = 0.0001
"""Redis rounds the time of a hold down to its ticks: one that is later than the publication is another's."""


class Result(StrEnum):
    """What a check found: the results of `write_visibility_checks_total`."""

    AGREE = "agree"
    """The written value would be served."""
    NEWER = "newer"
    """Another value may rightly be served: the hold is over, or there was a later write."""
    ABSENT = "absent"
    """Nothing would be served from here: the next tier, or Apple, is asked."""
    STALE = "stale"
    """A value from before the write would be served."""


def judge(
    written: Announcement, served: Collection[bytes], *, held: bool, superseded: bool | None
) -> Result | None:
    """Judge the digests of what would be served; none: nothing would be.

    `held` is whether the hold of the write still lasts; `superseded` whether there was a later write, None if
    that cannot be decided: then another value than the written one proves nothing, and the result is None.
    """
    if not served:
        return Result.ABSENT
    if not held:
        return Result.NEWER
    if all(digest == written.digest for digest in served):
        return Result.AGREE
    if superseded is None:
        return None
    return Result.NEWER if superseded else Result.STALE


def superseded(written: Announcement, known: Lookup) -> bool | None:
    """Return whether there was a later write of the id.

    None if only Redis can decide, and did not answer now or when the write ended, or lost what it had: a
    version smaller than that of the write shows it. Later writes may be lost as well.
    """
    if known.shared_version is None or not written.published:
        return None
    held = known.holds.get(written.id)
    if held is not None and digest_of(written, held.rating) == written.digest:
        # A later write may have had the same value, with another one in between.
        later = held.fetched_at + known.redis_ahead > written.published / MICROSECONDS + SAME_WRITE_SECONDS
        return later or written.id in known.pending
    if written.id in known.pending or int(known.shared_version) > written.version:
        return True
    return None if int(known.shared_version) < written.version else False


def digest_of(written: Announcement, rating: Rating) -> bytes:
    """Return the digest of another rating of the same id."""
    return value_digest(written.user, written.kind, written.id, rating)


class Received(msgspec.Struct, frozen=True):
    """An announcement, when it arrived (monotonic seconds) and how old it was then."""

    written: Announcement
    at: float
    age: float
    own: bool
    """Whether it was written through this gateway."""

    def age_at(self, now: float) -> float:
        """Seconds since the publication."""
        return self.age + now - self.at

    def held(self, now: float) -> bool:
        """Whether the written rating certainly outranks what Apple reports."""
        return self.age_at(now) + MARGIN_SECONDS < self.written.hold_seconds


class Visibility:
    """Checks announced writes, and counts and logs what it finds. Reads are not affected.

    `hold_seconds` and `sampled` are for the writes of a gateway without Redis: those of others are announced.
    """

    def __init__(
        self,
        sources: Sources,
        *,
        clock: Clock,
        tasks: Tasks,
        metrics: Metrics,
        log: FilteringBoundLogger,
        hold_seconds: float,
        sampled: Sampled,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._sources = sources
        self._clock = clock
        self._tasks = tasks
        self._log = log
        self._hold_seconds = hold_seconds
        self._sampled = sampled
        self._sleep = sleep
        self._counts = {
            (after, tier, result): metrics.write_visibility_checks.labels(f"{after:g}", tier, result)
            for after in AFTER_SECONDS
            for tier in TIERS
            for result in Result
        }
        self._checked = 0

    def on_announcement(self, announcement: Announcement, /, *, age: float, own: bool) -> None:
        """See `OnAnnouncement`."""
        if self._checked < MAX_CHECKED:
            self._checked += 1
            received = Received(announcement, self._clock.monotonic(), age, own)
            self._tasks.spawn("visibility", self._follow(received)).add_done_callback(self._ended)

    def on_written(self, user: User, kind: Kind, id_: Id, rating: Rating) -> None:
        """Perhaps check a write of this gateway, which has no Redis to announce it."""
        if self._sampled():
            written = Announcement(
                origin="",
                user=user.key,
                kind=kind,
                id=id_,
                digest=value_digest(user.key, kind, id_, rating),
                hold_seconds=self._hold_seconds,
                version=self._version(Partition(user, kind)),
                published=round(self._clock.time() * MICROSECONDS),
            )
            self.on_announcement(written, age=0.0, own=True)

    def _version(self, partition: Partition) -> int:
        return self._sources.cache.recall(partition, self._clock.monotonic()).version

    def _ended(self, _: object) -> None:
        self._checked -= 1

    async def _follow(self, received: Received) -> None:
        for after in AFTER_SECONDS:
            await self._sleep(max(0.0, after - received.age_at(self._clock.monotonic())))
            await self._check(received, after)

    async def _check(self, received: Received, after: float) -> None:
        written, now = received.written, self._clock.monotonic()
        held, local = received.held(now), self._served_locally(written, now)
        # This gateway may have begun another write of the id.
        pending = self._sources.cache.write_pending((written.user, written.kind), written.id, now)
        agrees = bool(local) and all(digest == written.digest for digest in local)
        if agrees and not received.own:
            self._count(received, after, "local", judge(written, local, held=held, superseded=None), None)
            return
        known = await self._known(written, now)
        later = superseded(written, known)
        if later is False and pending:
            later = True  # not answered yet: what was written before it is still served
        if written.published:  # else nothing could show that what is served is old
            self._count(received, after, "local", judge(written, local, held=held, superseded=later), known)
        if self._sources.cache.has_shared and (received.own or not local):
            found = self._served_by_redis(written, known, now)
            if later is not None or not found:
                result = judge(written, found, held=held, superseded=later)
                self._count(received, after, "shared", result, known)

    def _served_locally(self, written: Announcement, now: float) -> set[bytes]:
        """Return what reads would be answered from memory, in any variant that is kept there."""
        user, part = User.of_key(written.user), Part(written.kind, (written.id,))
        variants = self._sources.cache.memory.variants((written.user, written.kind), written.id)
        served = set()
        for variant in {PLAIN, *variants}:
            read = PartitionRead(self._sources, Query(user, (part,), variant), part, now)
            read.recall()
            read.plan.resolve(stale_allowed=True)
            if not read.plan.missing:
                _, (rating,) = read.ratings()
                served.add(digest_of(written, rating))
        return served

    async def _known(self, written: Announcement, now: float) -> Lookup:
        """Look up the id's writes in Redis; without Redis, memory has all writes and stands in for it."""
        cache, partition = self._sources.cache, Partition(User.of_key(written.user), written.kind)
        memory, shared = await cache.look_up(partition, [written.id], now)
        return shared or msgspec.structs.replace(
            memory, shared_version=b"%d" % memory.version, redis_ahead=self._clock.time() - now
        )

    def _served_by_redis(self, written: Announcement, shared: Lookup, now: float) -> set[bytes]:
        plan = ReadPlan((written.id,), NO_DIRECTIVES, self._sources.cache.freshness, now)
        plan.hold(held_entries(shared.holds), from_redis=True)
        plan.take(shared, from_redis=True)
        plan.resolve(stale_allowed=True)
        return {digest_of(written, entry.rating) for entry in plan.served.values()}

    def _count(
        self, received: Received, after: float, tier: str, result: Result | None, known: Lookup | None
    ) -> None:
        if result is None:
            return
        self._counts[after, tier, result].inc()
        if result is Result.STALE:
            self._log.error(
                "stale_after_write",
                after=after,
                tier=tier,
                known_version=int(known.shared_version or 0) if known else 0,
                **self._timeline(received),
            )

    def _timeline(self, received: Received) -> dict[str, object]:
        """Describe the write for the log; times in epoch seconds of Redis' clock."""
        written, now = received.written, self._clock.monotonic()
        published = written.published / MICROSECONDS
        taken = (written.published - (written.begun or written.published)) / MICROSECONDS
        begun_here = received.at - received.age - taken
        return {
            "user": User.of_key(written.user).label,
            "type": written.kind.value,
            "id": written.id,
            "origin": written.origin,
            "own": received.own,
            "begun": round(published - taken, 6) if written.begun else None,
            "ended": round(published, 6),  # one script records the end and publishes
            "published": round(published, 6),
            "received": round(published + received.age, 6),
            "checked": round(published + received.age_at(now), 6),
            "version": written.version,
            "fills_refused": self._sources.cache.fills_refused((written.user, written.kind), begun_here),
        }
