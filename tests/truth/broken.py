"""The rule with one piece broken at a time: what each takes away is what the promises rest on."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from gateway.cache import rule, tiers
from gateway.cache.ledger import Ledger
from gateway.cache.local import LocalTier
from gateway.cache.news import Continuity
from gateway.cache.rule import Cell, Unsettled
from gateway.cache.shared.backlog import Backlog
from gateway.cache.shared.tier import RedisShared
from gateway.cache.tiers import Cache
from gateway.loading.flights import Flights
from gateway.loading.waiter import Waiter
from gateway.model import Id, Resource, Shelf, User
from gateway.ratings import shelf_read
from tests.truth import stories
from tests.truth.redis import RuleRedis
from tests.truth.stories import Story

Break = Callable[[pytest.MonkeyPatch], None]


def a_fetch_from_before_a_write_is_kept(patch: pytest.MonkeyPatch) -> None:
    fill = RuleRedis.fill

    def of_any_version(self: RuleRedis, shelf: Shelf, _: bytes, resources: Mapping[Id, Resource]) -> bool:
        return fill(self, shelf, b"%d" % self._of((shelf.user.key, shelf.kind)).version, resources)

    patch.setattr(Ledger, "admits", lambda *_: True)
    patch.setattr(RuleRedis, "fill", of_any_version)


def nothing_is_held(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rule, "held", lambda *_: None)


def what_is_fetched_in_the_hold_is_kept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rule, "fillable", lambda *_: True)


def nothing_is_dropped_when_a_write_begins(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Cache, "_forget_written", lambda *_, **__: None)


def a_hold_is_not_laid_over_variants(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(shelf_read, "overlay", lambda _, reported: reported)


def local_entries_are_believed_though_news_is_lost(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Continuity, "believed_since", lambda *_: float("-inf"))


def news_is_not_acted_on(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Cache, "hear", lambda *_: None)


def a_write_of_unknown_end_brings_back_what_was_before(patch: pytest.MonkeyPatch) -> None:
    def standing(cell: Cell, now: float) -> Cell:
        return cell.held if isinstance(cell, Unsettled) and now >= cell.until else cell

    patch.setattr(rule, "standing", standing)


def a_write_on_the_twin_is_nothing_here(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Cache, "_suspect", lambda *_: None)


def a_write_on_the_twin_is_nothing_in_redis(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rule, "cap", lambda *_: None)


def redis_keeps_what_came_after_the_hold_on_the_twin(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tiers, "FILL_SECONDS", float("-inf"))


def fetches_from_before_a_purge_are_joined(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Flights, "detach", lambda *_: None)


def fetches_from_before_an_open_write_are_joined(patch: pytest.MonkeyPatch) -> None:
    join = Flights.join
    patch.setattr(Flights, "join", lambda self, *args, **named: join(self, *args, **named | {"marks": {}}))
    patch.setattr(Flights, "detach", lambda *_: None)


def everybody_fetches_alone(patch: pytest.MonkeyPatch) -> None:
    join = Flights.join

    def alone(self: Flights, *args: Any, **named: Any) -> Waiter:
        self._table.clear()
        return join(self, *args, **named)

    patch.setattr(Flights, "join", alone)


def a_caller_that_leaves_takes_the_fetch_along(patch: pytest.MonkeyPatch) -> None:
    wait = Waiter.wait

    async def all_leave(self: Waiter, until: float) -> None:
        try:
            await wait(self, until)
        except BaseException:
            for flight in self.__dict__["flights"]:
                for waiter in flight.waiters:
                    waiter._wake()
            raise

    patch.setattr(Waiter, "wait", all_leave)


def users_share_a_local_tier(patch: pytest.MonkeyPatch) -> None:
    shelf_of = LocalTier.shelf
    ada = User.of("ada")
    patch.setattr(
        LocalTier, "shelf", lambda self, shelf: shelf_of(self, Shelf(ada, shelf.kind, shelf.variant))
    )


def users_share_fetches(patch: pytest.MonkeyPatch) -> None:
    join = Flights.join
    ada = User.of("ada")
    patch.setattr(
        Flights,
        "join",
        lambda self, shelf, ids, **named: join(self, Shelf(ada, shelf.kind, shelf.variant), ids, **named),
    )


def what_redis_missed_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RedisShared, "_keep", lambda *_, **__: None)


def redis_is_believed_before_it_was_told(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RedisShared, "_believable", lambda _self, lookup, *_: lookup)


def a_hold_ends_when_redis_is_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tiers, "undisputed", lambda *_: {})


def what_redis_was_not_asked_about_is_trusted(patch: pytest.MonkeyPatch) -> None:
    init = Cache.__init__
    patch.setattr(Cache, "__init__", lambda self, **named: init(self, **named | {"trust_seconds": 1e9}))


def marks_that_were_told_late_are_anothers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Backlog, "told_late", lambda *_: frozenset())


def held_values_are_kept_past_a_later_write(patch: pytest.MonkeyPatch) -> None:
    cap = rule.cap
    patch.setattr(rule, "cap", lambda mark, cell, now: cap(mark, rule.held(cell, now) or cell, now))


def redis_is_believed_where_it_forgot(patch: pytest.MonkeyPatch) -> None:
    offer: Any = Cache._offer_shared
    patch.setattr(Cache, "_offer_shared", lambda *args: offer(*args[:-1], {}))


def no_cache_is_not_heard(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("gateway.ratings.plan.Plan._admissible", lambda *_: True)


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
