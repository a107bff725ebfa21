"""Breaks of the write rule, one at a time: each must be found by a broken promise."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import pytest

from gateway.cache import cache as tiers
from gateway.cache import lookup as lookups
from gateway.cache import write_rule
from gateway.cache.cache import Cache
from gateway.cache.invalidation import Continuity
from gateway.cache.memory import MemoryCache
from gateway.cache.redis.recent_writes import RecentWrites
from gateway.cache.redis.retry_queue import RetryQueue
from gateway.cache.redis.store import RedisStore
from gateway.cache.write_log import WriteLog
from gateway.cache.write_rule import Outcome, PendingWrite, Record
from gateway.errors import UpstreamError
from gateway.fetch.single_flight import SingleFlight
from gateway.fetch.wait import FetchWait
from gateway.fill_token import FillToken
from gateway.model import Id, Partition, Rating, User, UserKind
from gateway.ratings import partition_read
from gateway.waiters import Waiters
from tests import redis_rule
from tests.truth import stories
from tests.truth.apple import Client
from tests.truth.redis import RuleRedis
from tests.truth.stories import Story

Break = Callable[[pytest.MonkeyPatch], None]


def a_fetch_from_before_a_write_is_kept(patch: pytest.MonkeyPatch) -> None:
    fill = RuleRedis.fill

    def of_any_version(self: RuleRedis, partition: Partition, _: bytes, ratings: Mapping[Id, Rating]) -> bool:
        return fill(self, partition, self.version(partition.user_kind), ratings)

    patch.setattr(WriteLog, "admits", lambda *_: True)
    patch.setattr(RuleRedis, "fill", of_any_version)


def nothing_is_held(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(write_rule, "held", lambda *_: None)


def ratings_fetched_in_the_hold_are_kept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(write_rule, "fillable", lambda *_: True)


def nothing_is_dropped_when_a_write_begins(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Cache, "_drop_written", lambda *_, **__: None)


def a_hold_does_not_apply_to_variants(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(partition_read, "overlay", lambda _, reported: reported)


def local_entries_are_trusted_while_invalidations_are_lost(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Continuity, "trusted_since", lambda *_: float("-inf"))


def invalidations_are_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Cache, "on_invalidation", lambda *_: None)


def a_write_of_unknown_outcome_restores_the_earlier_hold(patch: pytest.MonkeyPatch) -> None:
    def standing(record: Record, now: float) -> Record:
        return record.held if isinstance(record, PendingWrite) and now >= record.until else record

    patch.setattr(write_rule, "standing", standing)


def the_refusal_of_a_repeat_counts_for_the_whole_write(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(UpstreamError, "maybe_done", property(lambda _: False, lambda *_: None))


def writes_on_the_paired_type_do_not_expire_memory(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Cache, "_expire", lambda *_: None)


def writes_on_the_paired_type_do_not_cap_freshness(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(write_rule, "cap", lambda *_: None)


def redis_keeps_fills_from_the_paired_hold(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tiers, "FILL_SECONDS", float("-inf"))


def fetches_from_before_a_purge_are_joined(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SingleFlight, "detach", lambda *_: None)


def fetches_from_before_an_open_write_are_joined(patch: pytest.MonkeyPatch) -> None:
    join = SingleFlight.join

    def stampless(self: SingleFlight, *args: Any, token: FillToken, **named: Any) -> FetchWait:
        return join(self, *args, token=msgspec.structs.replace(token, pending={}), **named)

    patch.setattr(SingleFlight, "join", stampless)
    patch.setattr(SingleFlight, "detach", lambda *_: None)


def fetches_are_not_shared(patch: pytest.MonkeyPatch) -> None:
    join = SingleFlight.join

    def alone(self: SingleFlight, partition: Partition, ids: Sequence[Id], **named: Any) -> FetchWait:
        self.detach(partition.user_kind, ids)
        return join(self, partition, ids, **named)

    patch.setattr(SingleFlight, "join", alone)


def a_caller_that_leaves_ends_the_fetch(patch: pytest.MonkeyPatch) -> None:
    fetch, until = Client.fetch, FetchWait.until
    fetching: dict[Waiters, asyncio.Task[Any] | None] = {}

    async def remembered(self: Client, *args: Any, waiters: Waiters, **named: Any) -> Any:
        fetching[waiters] = asyncio.current_task()
        return await fetch(self, *args, waiters=waiters, **named)

    async def ends_its_calls(self: FetchWait, deadline: float) -> None:
        try:
            await until(self, deadline)
        except asyncio.CancelledError:
            for waiters in self.batches:
                if (task := fetching.get(waiters)) is not None:
                    task.cancel()
            raise

    patch.setattr(Client, "fetch", remembered)
    patch.setattr(FetchWait, "until", ends_its_calls)


def users_share_a_local_tier(patch: pytest.MonkeyPatch) -> None:
    partition_of = MemoryCache.partition
    ada = User.of("ada")
    patch.setattr(
        MemoryCache,
        "partition",
        lambda self, partition, now: partition_of(
            self, Partition(ada, partition.kind, partition.variant), now
        ),
    )


def users_share_fetches(patch: pytest.MonkeyPatch) -> None:
    join = SingleFlight.join
    ada = User.of("ada")
    patch.setattr(
        SingleFlight,
        "join",
        lambda self, partition, ids, **named: join(
            self, Partition(ada, partition.kind, partition.variant), ids, **named
        ),
    )


def writes_that_redis_missed_are_dropped(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RetryQueue, "add", lambda *_, **__: True)


def lookups_ignore_undelivered_writes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RedisStore, "_trustworthy", lambda _self, lookup, *_: lookup)


def a_hold_ends_when_redis_is_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lookups, "undisputed", lambda *_: {})


def fetches_without_redis_are_trusted_for_ever(patch: pytest.MonkeyPatch) -> None:
    init = Cache.__init__
    patch.setattr(Cache, "__init__", lambda self, **named: init(self, **named | {"trust_seconds": 1e9}))


def markers_of_own_replays_count_as_anothers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RetryQueue, "own_replays", lambda *_: frozenset())


def an_accepted_favorite_leaves_the_earlier_hold(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(write_rule, "leaves_hold", lambda outcome: isinstance(outcome, write_rule.Unwritten))


def replays_overlook_what_others_wrote(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RecentWrites, "written_elsewhere_since", lambda *_, **__: ())


def purges_that_redis_missed_are_dropped(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RetryQueue, "add_purge", lambda *_: True)


def purges_are_repeated_as_writes(patch: pytest.MonkeyPatch) -> None:
    def as_write(self: RetryQueue, user_kind: UserKind, _: Sequence[Id] | None) -> bool:
        return self.add(user_kind, Id("1"))

    patch.setattr(RetryQueue, "add_purge", as_write)


def held_values_are_kept_past_a_later_write(patch: pytest.MonkeyPatch) -> None:
    cap = write_rule.cap
    patch.setattr(
        write_rule,
        "cap",
        lambda paired, record, now: cap(paired, write_rule.held(record, now) or record, now),
    )


def a_purge_leaves_a_held_rating_for_good(patch: pytest.MonkeyPatch) -> None:
    purged = redis_rule.purged

    def left(record: Record, version: int, now: float) -> Record:
        return write_rule.held(record, now) or purged(record, version, now)

    patch.setattr(redis_rule, "purged", left)


def a_refused_write_restores_the_rating_before_it_for_good(patch: pytest.MonkeyPatch) -> None:
    end = write_rule.end

    def restored(record: Record, stamp: int | None, outcome: Outcome, **named: Any) -> Record:
        after = end(record, stamp, outcome, **named)
        refused = outcome is write_rule.UNCHANGED and isinstance(after, PendingWrite) and not after.contested
        return write_rule.held(after, named["now"]) if refused else after

    patch.setattr(write_rule, "end", restored)


def a_refused_write_makes_an_unknown_rating_known(patch: pytest.MonkeyPatch) -> None:
    begin = write_rule.begin
    patch.setattr(
        write_rule, "begin", lambda *args: msgspec.structs.replace(begin(*args), after_unknown=False)
    )


def a_refused_write_makes_a_contested_rating_known(patch: pytest.MonkeyPatch) -> None:
    begin = write_rule.begin

    def forgetful(record: Record, *more: Any) -> PendingWrite:
        over = isinstance(record, PendingWrite) and record.contested and not record.writers
        return begin(None if over else record, *more)

    patch.setattr(write_rule, "begin", forgetful)


def own_holds_that_redis_lost_are_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tiers, "local_holds", lambda *_: {})


def no_cache_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("gateway.ratings.plan.ReadPlan._admissible", lambda *_: True)


BY_CHANCE: Sequence[Break] = (
    nothing_is_held,
    nothing_is_dropped_when_a_write_begins,
    a_hold_does_not_apply_to_variants,
    invalidations_are_ignored,
    writes_on_the_paired_type_do_not_expire_memory,
    writes_on_the_paired_type_do_not_cap_freshness,
    fetches_are_not_shared,
    users_share_a_local_tier,
    users_share_fetches,
)
"""Breaks that a few hundred random runs find."""

BY_STORY: Mapping[Break, Story] = {
    a_fetch_from_before_a_write_is_kept: stories.a_fetch_ends_after_a_write,
    ratings_fetched_in_the_hold_are_kept: stories.a_variant_is_read_in_the_hold_while_redis_is_slow,
    local_entries_are_trusted_while_invalidations_are_lost: stories.another_gateway_writes_unnoticed,
    a_write_of_unknown_outcome_restores_the_earlier_hold: stories.a_write_fails_after_one_that_is_held,
    the_refusal_of_a_repeat_counts_for_the_whole_write: stories.a_read_follows_a_refused_repeat,
    lookups_ignore_undelivered_writes: stories.a_write_fails_before_redis_receives_it,
    writes_that_redis_missed_are_dropped: stories.a_write_fails_that_redis_receives_late,
    markers_of_own_replays_count_as_anothers: stories.a_begin_reaches_redis_after_its_time,
    an_accepted_favorite_leaves_the_earlier_hold: stories.a_favorite_is_added_in_the_hold_of_a_write,
    replays_overlook_what_others_wrote: stories.one_writes_out_of_reach_and_then_the_other,
    a_hold_ends_when_redis_is_back: stories.redis_receives_a_hold_late,
    fetches_without_redis_are_trusted_for_ever: stories.the_other_writes_while_redis_is_slow,
    a_caller_that_leaves_ends_the_fetch: stories.a_caller_leaves_a_fetch_that_another_waits_for,
    no_cache_is_ignored: stories.a_cached_id_is_read_with_no_cache,
    fetches_from_before_a_purge_are_joined: stories.a_read_after_a_purge_finds_an_old_fetch,
    fetches_from_before_an_open_write_are_joined: stories.a_read_after_a_failed_write_finds_an_old_fetch,
    redis_keeps_fills_from_the_paired_hold: stories.a_fill_reaches_redis_after_the_paired_hold,
    purges_that_redis_missed_are_dropped: stories.a_purge_fails_for_lack_of_redis,
    purges_are_repeated_as_writes: stories.a_purge_is_repeated_after_a_write_began,
    held_values_are_kept_past_a_later_write: stories.a_write_is_lost_after_one_that_is_held,
    a_purge_leaves_a_held_rating_for_good: stories.a_held_rating_is_purged,
    a_refused_write_restores_the_rating_before_it_for_good: stories.a_held_rating_is_purged_before_a_refusal,
    a_refused_write_makes_an_unknown_rating_known: stories.a_write_is_refused_after_one_of_unknown_outcome,
    a_refused_write_makes_a_contested_rating_known: stories.a_write_is_refused_after_two_that_overlapped,
    own_holds_that_redis_lost_are_ignored: stories.redis_loses_a_hold_and_is_filled_by_the_other,
}
"""Breaks that random runs rarely find, each with the story that reveals it."""
