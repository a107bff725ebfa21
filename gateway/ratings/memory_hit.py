"""The shortest read: memory has a fresh entry of every id of a part, and nothing overrules it."""

import msgspec

from gateway.cache.complete import Complete, complete
from gateway.cache.lookup import Lookup
from gateway.model import Partition
from gateway.ratings.partition_read import Sources
from gateway.ratings.plan import Findings
from gateway.ratings.query import Part, Query
from gateway.ratings.resources import render


class MemoryHit(msgspec.Struct, frozen=True):
    """A part that memory answers as a whole."""

    part: Part
    partition: Partition
    memory: Lookup
    found: Complete

    def render(self) -> bytes:
        """Return the resources of the rated ids, in the order asked."""
        part = self.part
        return render(part.kind, part.ids, [entry.rating for entry in self.found.entries])

    def record(self, sources: Sources, now: float) -> None:
        """Count the hits at `now` (monotonic seconds), and perhaps check them against Apple."""
        ids, entries, negative = self.part.ids, self.found.entries, self.found.negative
        sources.metrics.memory.add(Findings(hit=len(ids) - negative, negative=negative))
        if self.memory.rides:
            sources.metrics.top_up_used.inc(self.memory.rides.answered(ids))
        if sources.shadow is not None and sources.shadow.drawn():
            sources.shadow.check_entries(self.partition, dict(zip(ids, entries, strict=True)), now)


def recall_all(sources: Sources, query: Query, part: Part, now: float) -> MemoryHit | None:
    """Look `part` up in memory; None if an id is missing or stale, or was written recently."""
    partition = query.partition(part)
    memory = sources.cache.recall(partition, now)
    if memory.holds:
        return None
    found = complete(part.ids, memory.entries, now, memory.trusted_since)
    return None if found is None else MemoryHit(part, partition, memory, found)
