"""Cache, fetches and writes under thousands of schedules, each repeatable by its seed.

RATINGS_GATEWAY_SEEDS is the number of seeds for `python -m pytest tests/simulation -k no_seed`.
"""

import os
from collections.abc import Callable

import pytest

from gateway.cache import cache as tiers
from gateway.cache import write_rule
from gateway.cache.memory import MemoryCache
from gateway.cache.write_log import WriteLog
from gateway.fetch.single_flight import SingleFlight
from gateway.model import Partition
from tests.simulation.world import USERS, World

SEEDS = int(os.environ.get("RATINGS_GATEWAY_SEEDS", "3000"))
AT_A_TIME = 500
ENOUGH = 3000
"""Seeds within which every planted bug is found."""


@pytest.mark.parametrize("first", range(0, SEEDS, AT_A_TIME))
def test_no_seed_finds_a_wrong_answer_a_lost_caller_or_a_leak(first):
    seeds = range(first, min(first + AT_A_TIME, SEEDS))
    found = {seed: faults for seed in seeds if (faults := World(seed).run())}
    assert found == {}


def test_a_seed_repeats_its_run():
    def trace(seed: int) -> tuple[float, int]:
        world = World(seed)
        world.run()
        return world.loop.time(), world.states

    assert trace(7) == trace(7)
    assert len({trace(seed) for seed in range(5)}) == 5


def never(*_: object, **__: object) -> None:
    """Replace a necessary step by nothing."""


Plant = Callable[[pytest.MonkeyPatch], None]


def fills_are_never_refused(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WriteLog, "admits", lambda *_: True)


def fetches_from_before_a_write_are_joined(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SingleFlight, "detach", never)


def overlapping_writes_keep_their_value(patch: pytest.MonkeyPatch) -> None:
    whole = write_rule.end

    def end(record, stamp, outcome, **more):
        if isinstance(outcome, write_rule.Unwritten):
            return whole(record, stamp, outcome, **more)
        return write_rule.StoredRating(outcome, more["now"], more["now"] + more["hold"])

    patch.setattr(write_rule, "end", end)


def writes_are_not_held(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(write_rule, "held", lambda *_: None)


def purges_do_not_void_fetches(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WriteLog, "purged", never)


def writes_on_paired_types_are_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tiers.Cache, "_expire", never)
    patch.setattr(WriteLog, "paired_written", never)


def users_share_a_partition(patch: pytest.MonkeyPatch) -> None:
    partition, put = MemoryCache.partition, MemoryCache.put

    def merged(which: Partition) -> Partition:
        return Partition(USERS[0], which.kind, which.variant)

    patch.setattr(MemoryCache, "partition", lambda self, which, now: partition(self, merged(which), now))
    patch.setattr(
        MemoryCache, "put", lambda self, which, entries, now: put(self, merged(which), entries, now)
    )


def completed_fetches_stay_in_flight(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SingleFlight, "_leave_table", never)


def fetches_are_not_shared(patch: pytest.MonkeyPatch) -> None:
    join = SingleFlight.join

    def alone(self, partition, ids, **more):
        self.detach(partition.user_kind, ids)
        return join(self, partition, ids, **more)

    patch.setattr(SingleFlight, "join", alone)


PLANTED: list[Plant] = [
    fills_are_never_refused,
    fetches_from_before_a_write_are_joined,
    overlapping_writes_keep_their_value,
    writes_are_not_held,
    purges_do_not_void_fetches,
    writes_on_paired_types_are_ignored,
    users_share_a_partition,
    completed_fetches_stay_in_flight,
    fetches_are_not_shared,
]


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch):
    plant(monkeypatch)
    assert any(World(seed).run() for seed in range(ENOUGH))
