"""How a read is answered.

1. `at_once` answers from memory alone, without an await, if every id is there and fresh.
2. `read` looks up what memory lacks in Redis, in one round trip, and serves what is fresh or may be stale.
3. What is still missing is fetched from Apple, together with every other request for the same ids.
4. If Apple fails, stale entries stand in. The answer is merged in the order asked.

Steps 2 and 3 are `PartitionRead.run`; the parts of a query are read side by side.
"""

import asyncio
from collections.abc import Sequence
from math import inf

from gateway.clock import Clock
from gateway.ratings.partition_read import PartitionRead, Sources
from gateway.ratings.query import Answer, CacheOutcome, Failure, Query, TierCounts
from gateway.ratings.resources import render
from gateway.waiters import Requester


class Reader:
    """Answers queries from the cache and from Apple."""

    def __init__(self, sources: Sources, clock: Clock) -> None:
        self._sources = sources
        self._clock = clock

    def at_once(self, query: Query) -> Answer | None:
        """Answer from memory alone; None if an id is missing, stale, or rejected by a directive."""
        now = self._clock.monotonic()
        reads = self._begin(query, now)
        for read in reads:
            if read.plan.missing:
                return None
        for read in reads:
            read.finish()
        return merge(reads, 0, now)

    async def read(self, query: Query) -> Answer:
        """Answer `query`; ids that failed are the answer's `failures`, in the order asked."""
        requester = Requester()
        reads = self._begin(query, self._clock.monotonic())
        if len(reads) == 1:
            await reads[0].run(requester)
        else:
            await asyncio.gather(*(read.run(requester) for read in reads))
        return merge(reads, requester.calls, self._clock.monotonic())

    def _begin(self, query: Query, now: float) -> Sequence[PartitionRead]:
        return [PartitionRead(self._sources, query, part, now) for part in query.parts]


def merge(reads: Sequence[PartitionRead], calls: int, now: float) -> Answer:
    """Combine the parts of a query into one answer, in the order asked."""
    counts = TierCounts(calls=calls)
    listed: list[bytes] = []
    failures: list[Failure] = []
    oldest = soonest = inf
    for read in reads:
        plan, kind = read.plan, read.part.kind
        counts.add(plan.counts)
        oldest, soonest = min(oldest, plan.oldest), min(soonest, plan.soonest)
        if read.failed:
            failures += [Failure(kind, id_, read.failed[id_]) for id_ in read.part.ids if id_ in read.failed]
        if resources := render(kind, *read.ratings()):
            listed.append(resources)
    age = 0.0 if oldest == inf else now - oldest
    ttl = 0.0 if soonest == inf else soonest - now
    if not counts.stale:
        # Below 0 would say that it is being refreshed; it was fresh when its tier was asked.
        ttl = max(0.0, ttl)
    resources = listed[0] if len(listed) == 1 else b",".join(listed)
    forwarded = [read for read in reads if read.forwarded]
    if not forwarded:
        return Answer(resources, counts, CacheOutcome.HIT, age, ttl, failures=tuple(failures))
    stood_in_for = next((read.stood_in_for for read in forwarded if read.stood_in_for is not None), None)
    return Answer(
        resources,
        counts,
        _outcome(forwarded, reads, counts, stale=stood_in_for is not None),
        age,
        ttl,
        stored=any(read.stored for read in reads),
        failures=tuple(failures),
        upstream_status=None if stood_in_for is None else stood_in_for.received_status,
    )


def _outcome(
    forwarded: Sequence[PartitionRead], reads: Sequence[PartitionRead], counts: TierCounts, *, stale: bool
) -> CacheOutcome:
    if not all(read.admitted for read in forwarded):
        return CacheOutcome.BYPASS
    if stale:
        return CacheOutcome.STALE
    if any(read.plan.overruled for read in reads):
        return CacheOutcome.REQUEST
    return CacheOutcome.PARTIAL if counts.local + counts.shared else CacheOutcome.MISS
