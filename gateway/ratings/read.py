"""How a read is answered.

1. `at_once` answers from memory alone, without an await, if every id is there and fresh.
2. `read` looks up what memory lacks in Redis, in one round trip, and serves what is fresh or may be stale.
3. What is still missing is fetched from Apple, together with every other request for the same ids.
4. If Apple fails, stale entries stand in. The answer is merged in the order asked.

Steps 2 and 3 are `PartitionRead.run`. The parts of a query are read side by side, and a large part in pieces
with other requests between them.
"""

import asyncio
from collections.abc import Iterator, Sequence
from math import inf
from typing import Final

from gateway.cache.complete import complete
from gateway.chunks import chunks
from gateway.clock import Clock
from gateway.errors import GatewayError
from gateway.ratings.partition_read import PartitionRead, Sources
from gateway.ratings.query import (
    NO_DIRECTIVES,
    Answer,
    CacheOutcome,
    Failure,
    Part,
    Query,
    TierCounts,
)
from gateway.ratings.resources import render
from gateway.waiters import Requester

PIECE_IDS: Final = 1000
"""Ids of one type that are read in one step of the event loop: about a millisecond."""


class Reader:
    """Answers queries from the cache and from Apple."""

    def __init__(self, sources: Sources, clock: Clock, *, piece_ids: int = PIECE_IDS) -> None:
        self._sources = sources
        self._clock = clock
        self._piece_ids = piece_ids

    def at_once(self, query: Query) -> Answer | None:
        """Answer from memory alone; None if it lacks an id, or if a directive or a recent write applies.

        None also for several types, and for a large query, which `read` answers in pieces.
        """
        sources, part = self._sources, query.parts[0]
        ids = part.ids
        if query.directives is not NO_DIRECTIVES or not sources.cache.memory.enabled:
            return None
        if len(query.parts) > 1 or len(ids) > self._piece_ids:
            return None
        now = self._clock.monotonic()
        partition = query.partition(part)
        memory = sources.cache.recall(partition, now)
        found = None if memory.holds else complete(ids, memory.entries, now, memory.trusted_since)
        if found is None:
            return None
        sources.metrics.memory.add_hits(len(ids), found.negative)
        if memory.rides or sources.shadow is not None:
            sources.note_hits(partition, memory.rides, ids, found.entries)
        resources = render(part.kind, ids, [entry.rating for entry in found.entries])
        counts = TierCounts(local=len(ids))
        return Answer(resources, counts, CacheOutcome.HIT, now - found.oldest, found.soonest - now)

    async def read(
        self, query: Query, requester: Requester | None = None, *, unfetched: GatewayError | None = None
    ) -> Answer:
        """Answer `query`; ids that failed are the answer's `failures`, in the order asked.

        `requester`: the request, if it reads again, or has made calls to Apple. The answer's counts include
        these.
        `unfetched`: the error of ids that are missing in the cache, which are then not fetched. If it is
        Apple's, stale entries may stand in.
        """
        requester = requester or Requester()
        pieces = [*self._pieces(query)]
        if len(pieces) == 1:
            reads = [PartitionRead(self._sources, query, pieces[0], self._clock.monotonic())]
            await reads[0].run(requester, unfetched)
        else:
            reads = await self._read_pieces(query, pieces, requester, unfetched)
        requester.counted = True
        return merge(reads, requester.calls, self._clock.monotonic())

    async def _read_pieces(
        self, query: Query, pieces: Sequence[Part], requester: Requester, unfetched: GatewayError | None
    ) -> list[PartitionRead]:
        reads = []
        async with asyncio.TaskGroup() as group:
            for piece in pieces:
                read = PartitionRead(self._sources, query, piece, self._clock.monotonic())
                reads.append(read)
                group.create_task(read.run(requester, unfetched))
                await asyncio.sleep(0)
        for read in reads:
            read.render()
            await asyncio.sleep(0)
        return reads

    def _pieces(self, query: Query) -> Iterator[Part]:
        for part in query.parts:
            if len(part.ids) <= self._piece_ids:
                yield part
            else:
                yield from (Part(part.kind, ids) for ids in chunks(part.ids, self._piece_ids))


def merge(reads: Sequence[PartitionRead], calls: int, now: float) -> Answer:
    """Combine the parts of a query into one answer, in the order asked."""
    counts = TierCounts(calls=calls)
    listed: list[bytes] = []
    failures: list[Failure] = []
    oldest = soonest = inf
    for read in reads:
        plan, kind = read.plan, read.part.kind
        counts.add(plan.counts)
        oldest = min(oldest, plan.oldest)
        soonest = min(soonest, plan.soonest)
        if read.failed:
            failures += [Failure(kind, id_, read.failed[id_]) for id_ in read.part.ids if id_ in read.failed]
        if resources := read.render():
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
