"""The rule with one piece broken at a time: what each takes away is what the promises rest on."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import pytest

from gateway.cache import cache as tiers
from gateway.cache import lookup as lookups
from gateway.cache import write_rule
from gateway.cache.cache import Cache
from gateway.cache.invalidation import Continuity
from gateway.cache.lookup import FillToken
from gateway.cache.memory import MemoryCache
from gateway.cache.redis.retry_queue import RetryQueue
from gateway.cache.redis.store import RedisShared
from gateway.cache.write_log import WriteLog
from gateway.cache.write_rule import PendingWrite, Record
from gateway.fetch.pending import PendingFetch
from gateway.fetch.single_flight import SingleFlight
from gateway.model import Id, Partition, Rating, User
from gateway.ratings import partition_read
from tests.truth import stories
from tests.truth.redis import RuleRedis
from tests.truth.stories import Story

Break = Callable[[pytest.MonkeyPatch], None]


def a_fetch_from_before_a_write_is_kept(patch: pytest.MonkeyPatch) -> None:
    fill = RuleRedis.fill

    def of_any_version(self: RuleRedis, partition: Partition, _: bytes, ratings: Mapping[Id, Rating]) -> bool:
        return fill(self, partition, b"%d" % self._of((partition.user.key, partition.kind)).version, ratings)

    patch.setattr(WriteLog, "admits", lambda *_: True)
    patch.setattr(RuleRedis, "fill", of_any_version)


def nothing_is_held(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(write_rule, "held", lambda *_: None)


def what_is_fetched_in_the_hold_is_kept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(write_rule, "fillable", lambda *_: True)


def nothing_is_dropped_when_a_write_begins(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Cache, "_drop_written", lambda *_, **__: None)


def a_hold_is_not_laid_over_variants(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(partition_read, "overlay", lambda _, reported: reported)


def local_entries_are_believed_though_news_is_lost(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Continuity, "trusted_since", lambda *_: float("-inf"))


def news_is_not_acted_on(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Cache, "on_invalidation", lambda *_: None)


def a_write_of_unknown_end_brings_back_what_was_before(patch: pytest.MonkeyPatch) -> None:
    def standing(cell: Record, now: float) -> Record:
        return cell.held if isinstance(cell, PendingWrite) and now >= cell.until else cell

    patch.setattr(write_rule, "standing", standing)


def a_write_on_the_twin_is_nothing_here(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Cache, "_expire", lambda *_: None)


def a_write_on_the_twin_is_nothing_in_redis(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(write_rule, "cap", lambda *_: None)


def redis_keeps_what_came_after_the_hold_on_the_twin(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tiers, "FILL_SECONDS", float("-inf"))


def fetches_from_before_a_purge_are_joined(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SingleFlight, "detach", lambda *_: None)


def fetches_from_before_an_open_write_are_joined(patch: pytest.MonkeyPatch) -> None:
    join = SingleFlight.join

    def stampless(self: SingleFlight, *args: Any, token: FillToken, **named: Any) -> PendingFetch:
        return join(self, *args, token=msgspec.structs.replace(token, pending={}), **named)

    patch.setattr(SingleFlight, "join", stampless)
    patch.setattr(SingleFlight, "detach", lambda *_: None)


def everybody_fetches_alone(patch: pytest.MonkeyPatch) -> None:
    join = SingleFlight.join

    def alone(self: SingleFlight, *args: Any, **named: Any) -> PendingFetch:
        self._table.clear()
        return join(self, *args, **named)

    patch.setattr(SingleFlight, "join", alone)


def a_caller_that_leaves_takes_the_fetch_along(patch: pytest.MonkeyPatch) -> None:
    wait = PendingFetch.wait

    async def all_leave(self: PendingFetch, until: float) -> None:
        try:
            await wait(self, until)
        except BaseException:
            for fetch in self.__dict__["fetches"]:
                for waiter in fetch.waiting:
                    waiter._wake()
            raise

    patch.setattr(PendingFetch, "wait", all_leave)


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


def what_redis_missed_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RedisShared, "_keep", lambda *_, **__: None)


def redis_is_believed_before_it_was_told(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RedisShared, "_trustworthy", lambda _self, lookup, *_: lookup)


def a_hold_ends_when_redis_is_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lookups, "undisputed", lambda *_: {})


def what_redis_was_not_asked_about_is_trusted(patch: pytest.MonkeyPatch) -> None:
    init = Cache.__init__
    patch.setattr(Cache, "__init__", lambda self, **named: init(self, **named | {"trust_seconds": 1e9}))


def marks_that_were_told_late_are_anothers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RetryQueue, "delivered_late", lambda *_: frozenset())


def held_values_are_kept_past_a_later_write(patch: pytest.MonkeyPatch) -> None:
    cap = write_rule.cap
    patch.setattr(
        write_rule, "cap", lambda mark, cell, now: cap(mark, write_rule.held(cell, now) or cell, now)
    )


def redis_is_believed_where_it_forgot(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tiers, "local_holds", lambda *_: {})


def no_cache_is_not_heard(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("gateway.ratings.plan.ReadPlan._admissible", lambda *_: True)


BY_CHANCE: Sequence[Break] = (
    nothing_is_held,
    nothing_is_dropped_when_a_write_begins,
    a_hold_is_not_laid_over_variants,
    news_is_not_acted_on,
    a_write_on_the_twin_is_nothing_here,
    a_write_on_the_twin_is_nothing_in_redis,
    everybody_fetches_alone,
    users_share_a_local_tier,
    users_share_fetches,
)
"""What a few hundred stories find."""

BY_STORY: Mapping[Break, Story] = {
    a_fetch_from_before_a_write_is_kept: stories.a_fetch_ends_after_a_write,
    what_is_fetched_in_the_hold_is_kept: stories.a_variant_is_read_in_the_hold_while_redis_is_slow,
    local_entries_are_believed_though_news_is_lost: stories.the_other_writes_while_news_is_lost,
    a_write_of_unknown_end_brings_back_what_was_before: stories.a_write_fails_after_one_that_is_held,
    redis_is_believed_before_it_was_told: stories.a_write_fails_that_redis_was_not_told_of_yet,
    what_redis_missed_is_forgotten: stories.a_write_fails_that_redis_hears_of_late,
    marks_that_were_told_late_are_anothers: stories.a_begin_reaches_redis_after_its_time,
    a_hold_ends_when_redis_is_back: stories.redis_hears_late_of_a_hold,
    what_redis_was_not_asked_about_is_trusted: stories.the_other_writes_while_redis_is_slow,
    no_cache_is_not_heard: stories.apple_is_asked_though_something_is_cached,
    fetches_from_before_a_purge_are_joined: stories.a_read_after_a_purge_meets_a_fetch_from_before,
    fetches_from_before_an_open_write_are_joined: stories.a_read_after_a_failed_write_meets_a_fetch,
    redis_keeps_what_came_after_the_hold_on_the_twin: stories.a_fill_reaches_redis_after_the_hold_on_the_twin,
    held_values_are_kept_past_a_later_write: stories.a_purge_follows_a_lost_write_upon_a_held_one,
    redis_is_believed_where_it_forgot: stories.redis_forgets_a_hold_and_is_filled_by_the_other,
}
"""What chance seldom leads to."""
