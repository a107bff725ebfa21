"""The road of a read: local tier, Redis, then Apple for what is left.

1. `at_once` answers when every id is fresh in this process, without a single await.
2. Else each partition is read by a `PartitionRead`, all side by side (see `partition_read`).
3. What they found is merged in the order asked, and so is what failed.
"""

import asyncio
import math
from collections.abc import Sequence

from gateway.cache.lookup import Glance, Whole
from gateway.clock import Clock
from gateway.ratings.partition_read import PartitionRead, Sources
from gateway.ratings.query import NO_DIRECTIVES, Answer, CacheOutcome, Failure, Query, TierCounts
from gateway.ratings.shadow import Shadow
from gateway.waiters import Requester


class Reader:
    """Answers queries from the tiers and from Apple."""

    def __init__(self, sources: Sources, clock: Clock) -> None:
        self._sources = sources
        self._cache = sources.cache
        self._clock = clock
        self.may_answer_at_once = sources.cache.local.bounded_at > 0
        """False where there is no local tier to answer from."""
        self._counts = sources.cache.counts["local"]

    def at_once(self, query: Query) -> Answer | None:
        """Answer from the local tier alone; None where it does not know every id, fresh and believed."""
        if query.directives is not NO_DIRECTIVES or not self.may_answer_at_once:
            return None
        now = self._clock.monotonic()
        trusted_since = self._cache.trusted_since(now)
        resources: list[bytes] = []
        count = 0
        oldest = soonest = math.inf
        for part in query.parts:
            try:
                entries = part.pick(self._cache.local.partition(query.partition(part)))
            except KeyError:
                return None
            count += len(entries)
            for entry in entries:
                if entry.known_at < trusted_since:
                    return None
                if entry.fetched_at < oldest:  # noqa: PLR1730 - calling min() would double the loop's cost
                    oldest = entry.fetched_at
                if entry.fresh_until < soonest:  # noqa: PLR1730 - as above
                    soonest = entry.fresh_until
                if entry.resource is not None:
                    resources.append(entry.resource)
        if soonest <= now:
            return None
        self._counts.fresh(count, rated=len(resources))
        return Answer(
            b",".join(resources),
            TierCounts(local=count),
            CacheOutcome.HIT,
            age=now - oldest,
            ttl=soonest - now,
        )

    def may_answer_soon(self, query: Query) -> bool:
        """Whether Redis alone may have the answer, and nothing speaks against asking it first."""
        return query.directives is NO_DIRECTIVES and len(query.parts) == 1 and self._cache.has_shared

    async def soon(self, query: Query) -> Answer | Glance | None:
        """Answer from Redis alone where it has every id, fresh; else what it said of them, for `read`.

        Awaits futures only, and so needs no task.
        """
        (part,) = query.parts
        found = await self._cache.glance(query.partition(part), part.ids, self._clock.monotonic())
        return _answer_of(found, self._clock.monotonic()) if isinstance(found, Whole) else found

    async def read(self, query: Query, glance: Glance | None = None) -> Answer:
        """Answer `query`; ids that cannot be had are the answer's `failures`, in the order asked.

        `glance` is what `soon` has found.
        """
        if glance is None and (answer := self.at_once(query)) is not None:
            return answer
        requester, now = Requester(), self._clock.monotonic()
        reads = [PartitionRead(self._sources, query, part, requester, now, glance) for part in query.parts]
        if len(reads) == 1:
            await reads[0].run()
        else:
            await asyncio.gather(*(read.run() for read in reads))
        return merge(reads, requester.calls, self._clock.monotonic())


class CheckingReader(Reader):
    """A reader some of whose hits are compared with Apple behind the answer."""

    def __init__(self, sources: Sources, shadow: Shadow, clock: Clock) -> None:
        super().__init__(sources, clock)
        self._shadow = shadow

    async def soon(self, query: Query) -> Answer | Glance | None:
        found = await super().soon(query)
        if isinstance(found, Answer) and self._shadow.drawn():
            (part,) = query.parts
            self._shadow.check_listed(query.partition(part), part.ids, found.listed)
        return found

    def at_once(self, query: Query) -> Answer | None:
        answer = super().at_once(query)
        if answer is not None and self._shadow.drawn():
            now = self._clock.monotonic()
            for part in query.parts:
                partition = query.partition(part)
                entries = part.pick(self._cache.local.partition(partition))
                self._shadow.check_entries(partition, zip(part.ids, entries, strict=True), now)
        return answer


def reader_of(sources: Sources, clock: Clock) -> Reader:
    """A reader that checks hits where the sources have a shadow; else one whose hits cost nothing more."""
    if sources.shadow is None:
        return Reader(sources, clock)
    return CheckingReader(sources, sources.shadow, clock)


def _answer_of(whole: Whole, now: float) -> Answer:
    # It was fresh when Redis was asked, and nobody refreshes it: below 0 would say so.
    age, ttl = now - whole.fetched_at, max(0.0, whole.fresh_until - now)
    return Answer(whole.listed, TierCounts(shared=whole.count), CacheOutcome.HIT, age=age, ttl=ttl)


def merge(reads: Sequence[PartitionRead], calls: int, now: float) -> Answer:
    """Put the partitions' findings together, in the order asked."""
    if len(reads) == 1 and (whole := reads[0].whole) is not None:
        return _answer_of(whole, now)
    tally = TierCounts(calls=calls)
    listed: list[bytes] = []
    failures: list[Failure] = []
    oldest = soonest = math.inf
    for read in reads:
        if (whole := read.whole) is not None:
            tally.shared += whole.count
            if whole.listed:
                listed.append(whole.listed)
            oldest, soonest = min(oldest, whole.fetched_at), min(soonest, whole.fresh_until)
            continue
        tally.add(read.plan.tally)
        for id_ in read.part.ids:
            if (error := read.failed.get(id_)) is not None:
                failures.append(Failure(read.part.kind, id_, error))
            elif (resource := read.resource(id_)) is not None:
                listed.append(resource)
        for entry in read.plan.served.values():
            oldest, soonest = min(oldest, entry.fetched_at), min(soonest, entry.fresh_until)
    forward = _forward(reads, tally)
    stood_in_for = next((read.stood_in_for for read in reads if read.stood_in_for is not None), None)
    return Answer(
        b",".join(listed),
        tally,
        forward,
        age=0.0 if oldest == math.inf else now - oldest,
        ttl=0.0 if soonest == math.inf else soonest - now,
        stored=any(read.stored for read in reads),
        failures=tuple(failures),
        upstream_status=None if stood_in_for is None else stood_in_for.received_status,
    )


def _forward(reads: Sequence[PartitionRead], tally: TierCounts) -> CacheOutcome:
    if any(not read.admitted and read.forwarded for read in reads):
        return CacheOutcome.BYPASS
    if any(read.stood_in_for is not None for read in reads):
        return CacheOutcome.STALE
    if not any(read.forwarded for read in reads):
        return CacheOutcome.HIT
    if any(read.whole is None and read.plan.overruled for read in reads):
        return CacheOutcome.REQUEST
    return CacheOutcome.PARTIAL if tally.local + tally.shared else CacheOutcome.MISS
