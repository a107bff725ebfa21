"""Bad ids, refused users and outages of Apple degrade nothing else, in random schedules that a seed repeats.

RATINGS_GATEWAY_SEEDS / 50 is the number of seeds for `python -m pytest tests/simulation -k degrade`.
"""

import os
import random
from collections.abc import Callable
from itertools import count, islice
from math import inf

import msgspec
import pytest

from gateway.apple import reactions
from gateway.apple.attribution import Retry, Verdict, attribute
from gateway.apple.failing_ids import FailingIds
from gateway.apple.quarantine import Quarantine
from gateway.apple.token_check import TokenCheck
from gateway.apple.user_records import FailedWrites, UserRecords
from gateway.breaker import Breaker
from gateway.errors import Cause
from gateway.model import Partition
from tests.simulation.failing_world import FailingWorld
from tests.simulation.failure_plan import EVE, FailurePlan
from tests.simulation.loop import START

SEEDS = int(os.environ.get("RATINGS_GATEWAY_SEEDS", "3000")) // 50
AT_A_TIME = 20
ENOUGH = 40
"""Each planted bug is found within so many seeds that have the failures it needs."""


def plan_of(seed: int) -> FailurePlan:
    return FailurePlan(random.Random(seed), START)


@pytest.mark.parametrize("first", range(0, SEEDS, AT_A_TIME))
def test_failures_of_apple_degrade_no_other_user_or_id(first):
    seeds = range(first, min(first + AT_A_TIME, SEEDS))
    found = {seed: faults for seed in seeds if (faults := FailingWorld(seed).run())}
    assert found == {}


def test_every_kind_of_failure_occurs_alone_and_with_the_others():
    seen = {
        (*(bad.status for bad in plan.ids), plan.user and plan.user.status, bool(plan.outage))
        for plan in map(plan_of, range(300))
    }
    alone = {(400, None, False), (500, None, False), (401, False), (403, False), (500, False), (None, True)}
    assert seen >= alone | {(400, None, True), (500, None, True), (401, True), (403, True), (500, True)}
    assert {each[2] for each in seen if len(each) == 3 and each[1]} == {True, False}


Plant = Callable[[pytest.MonkeyPatch], None]


def _attribute(patch: pytest.MonkeyPatch, change: Callable[[Verdict], Verdict]) -> None:
    """Change every verdict before anything reacts to it."""
    patch.setattr(reactions, "attribute", lambda *facts: change(attribute(*facts)))


def failures_of_ids_count_as_apples(patch: pytest.MonkeyPatch) -> None:
    _attribute(
        patch,
        lambda verdict: (
            Verdict(counts=True)
            if verdict.cause is Cause.ID and not verdict.divide and verdict.stale_allowed
            else verdict
        ),
    )


def nothing_is_bisected(patch: pytest.MonkeyPatch) -> None:
    _attribute(patch, lambda verdict: msgspec.structs.replace(verdict, divide=False))


def refused_users_are_not_quarantined(patch: pytest.MonkeyPatch) -> None:
    _attribute(patch, lambda verdict: msgspec.structs.replace(verdict, quarantine=False))


def stale_ratings_stand_in_for_refusals(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Verdict, "stale_allowed", True)


def broken_kept_connections_are_failures(patch: pytest.MonkeyPatch) -> None:
    _attribute(
        patch,
        lambda verdict: (
            msgspec.structs.replace(verdict, retry=Retry.NEVER) if verdict.retry is Retry.AT_ONCE else verdict
        ),
    )


def every_401_is_the_developer_tokens(patch: pytest.MonkeyPatch) -> None:
    async def refused(*_: object) -> bool:
        return False

    patch.setattr(TokenCheck, "verdict", refused)


def users_are_quarantined_together(patch: pytest.MonkeyPatch) -> None:
    refuse, answer = Quarantine.refuse, Quarantine.answer
    patch.setattr(Quarantine, "refuse", lambda self, _, *more: refuse(self, EVE.key, *more))
    patch.setattr(Quarantine, "answer", lambda self, _, now, **more: answer(self, EVE.key, now, **more))


def bad_ids_are_remembered_for_all_users(patch: pytest.MonkeyPatch) -> None:
    remember, sort = FailingIds.remember, FailingIds.sort

    def of_all(partition: Partition) -> Partition:
        return Partition(EVE, partition.kind, partition.variant)

    patch.setattr(
        FailingIds, "remember", lambda self, partition, *more: remember(self, of_all(partition), *more)
    )
    patch.setattr(
        FailingIds,
        "sort",
        lambda self, partition, *args, **more: sort(self, of_all(partition), *args, **more),
    )


def one_failing_user_opens_the_breaker(patch: pytest.MonkeyPatch) -> None:
    record = Breaker.record
    patch.setattr(
        Breaker, "record", lambda self, *args, **more: record(self, *args, **{**more, "user": b"anybody"})
    )


def two_failures_for_one_id_isolate_its_user(patch: pytest.MonkeyPatch) -> None:
    failed = UserRecords.failed
    patch.setattr(UserRecords, "failed", lambda self, *args: failed(self, *args[:-1]))
    patch.setattr(FailedWrites, "since", lambda *_: inf)


def an_outage_isolates_users(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Breaker, "others_failing", lambda *_: False)
    patch.setattr(UserRecords, "others_answered", lambda *_: True)


def always(_: FailurePlan) -> bool:
    return True


def bad_id(*statuses: int) -> Callable[[FailurePlan], bool]:
    return lambda plan: any(bad.status in statuses for bad in plan.ids)


def bad_user(*statuses: int) -> Callable[[FailurePlan], bool]:
    return lambda plan: plan.user is not None and plan.user.status in statuses


def outage(plan: FailurePlan) -> bool:
    return plan.outage is not None


PLANTED: dict[Plant, Callable[[FailurePlan], bool]] = {
    failures_of_ids_count_as_apples: bad_id(500),
    nothing_is_bisected: bad_id(400, 500),
    refused_users_are_not_quarantined: bad_user(401, 403),
    stale_ratings_stand_in_for_refusals: bad_id(400),
    broken_kept_connections_are_failures: always,
    every_401_is_the_developer_tokens: bad_user(401),
    users_are_quarantined_together: bad_user(401, 403),
    bad_ids_are_remembered_for_all_users: bad_id(400, 500),
    one_failing_user_opens_the_breaker: bad_user(500),
    two_failures_for_one_id_isolate_its_user: bad_id(500),
    an_outage_isolates_users: outage,
}


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_bug_in_the_attribution_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch):
    plant(monkeypatch)
    seeds = (seed for seed in count() if PLANTED[plant](plan_of(seed)))
    assert any(FailingWorld(seed).run() for seed in islice(seeds, ENOUGH))
