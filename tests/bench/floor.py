"""The least upstream calls that a cache per user needs for a trace when it fetches in batches. Pure.

The ideal cache of this bound

- knows nothing of the future: it fetches an id only when it was asked for and is unknown, or older than the
  freshness (a stale answer that is refreshed behind costs the same call);
- never forgets, shortens no freshness by jitter, and may have any number of calls under way;
- keeps no miss waiting for company longer than `patience`: whatever one user misses of one kind within that
  time of the first miss goes out together, in ceil(n / 100) calls, and is fresh from the end of that time on.

A cache of that patience does with fewer calls only by luck (expiries that happen to fall together), or by
fetching what nobody has asked for.
"""

from collections.abc import Iterable
from math import ceil

import msgspec

from tests.bench.trace import Step

IDS_PER_CALL = 100


class _Shelf(msgspec.Struct):
    """One user's ids of one kind."""

    leaves: float = -1.0
    """When the batch that gathers leaves."""
    gathered: int = 0
    fresh_until: dict[str, float] = {}
    calls: int = 0

    def close(self) -> None:
        self.calls += ceil(self.gathered / IDS_PER_CALL)
        self.gathered = 0


def least_calls(steps: Iterable[Step], *, fresh_seconds: float, patience: float) -> int:
    """The bound for a trace in its order; both times in seconds."""
    partitions: dict[tuple[str, str], _Shelf] = {}
    for step in steps:
        partition = partitions.setdefault((step.user, step.kind), _Shelf())
        missed = [id_ for id_ in step.ids if partition.fresh_until.get(id_, -1.0) <= step.moment]
        if not missed:
            continue
        if step.moment > partition.leaves:
            partition.close()
            partition.leaves = step.moment + patience
        partition.gathered += len(missed)
        partition.fresh_until.update(dict.fromkeys(missed, partition.leaves + fresh_seconds))
    for partition in partitions.values():
        partition.close()
    return sum(partition.calls for partition in partitions.values())
