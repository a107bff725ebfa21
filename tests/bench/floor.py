"""The read calls that two ideal caches per user need for a trace. Pure.

Both
- cannot see the future: they fetch an id only if it was asked for and is not cached, or older than the
  freshness (a stale answer that is refreshed in the background costs the same call);
- evict nothing, shorten no freshness by jitter, and may have any number of calls in flight;
- keep no miss waiting for company longer than `patience`: all that one user misses of one type within that
  time of the first miss goes out together, in ceil(n / 100) calls, and is fresh from the end of that time on;
- hold what a write rated from then on.

The first one fetches nothing else. The second one fills the free seats of each call with ids of the same user
and type that were asked for before, those whose freshness ends first before others, however old they are.
"""

from collections.abc import Iterable
from heapq import nsmallest
from math import ceil

import msgspec

from tests.bench.trace import Step

IDS_PER_CALL = 100


class _Partition(msgspec.Struct):
    """One user's ids of one type."""

    leaves: float = -1.0
    """When the batch that gathers leaves."""
    gathered: int = 0
    fresh_until: dict[str, float] = {}
    calls: int = 0

    def dispatch(self, fresh_seconds: float, *, top_up: bool) -> None:
        calls = ceil(self.gathered / IDS_PER_CALL)
        if top_up:
            free = calls * IDS_PER_CALL - self.gathered
            riders = nsmallest(free, self.fresh_until, key=self.fresh_until.__getitem__)
            until = self.leaves + fresh_seconds
            self.fresh_until.update({id_: max(until, self.fresh_until[id_]) for id_ in riders})
        self.calls += calls
        self.gathered = 0


def least_calls(steps: Iterable[Step], *, fresh_seconds: float, patience: float, top_up: bool = False) -> int:
    """The read calls for a trace in its order; both times in seconds."""
    partitions: dict[tuple[str, str], _Partition] = {}
    for step in steps:
        partition = partitions.setdefault((step.user, step.kind), _Partition())
        if partition.gathered and step.moment > partition.leaves:
            partition.dispatch(fresh_seconds, top_up=top_up)
        if step.value is not None:
            partition.fresh_until.update(dict.fromkeys(step.ids, step.moment + fresh_seconds))
            continue
        missed = [id_ for id_ in step.ids if partition.fresh_until.get(id_, -1.0) <= step.moment]
        if not missed:
            continue
        if not partition.gathered:
            partition.leaves = step.moment + patience
        partition.gathered += len(missed)
        partition.fresh_until.update(dict.fromkeys(missed, partition.leaves + fresh_seconds))
    for partition in partitions.values():
        partition.dispatch(fresh_seconds, top_up=top_up)
    return sum(partition.calls for partition in partitions.values())
