from math import inf

import pytest

from gateway.cache.entry import Entry, Freshness, Usability
from gateway.cache.lookup import Lookup
from gateway.model import Id, Rating
from gateway.ratings.plan import LookupCounts, ReadPlan
from gateway.ratings.query import NO_DIRECTIVES, Directives, TierCounts

FRESHNESS = Freshness(
    fresh_seconds=300, stale_while_revalidate_seconds=60, stale_if_error_seconds=1000, jitter=0
)
NOW = 10_000.0
ONE, TWO, THREE = Id("1"), Id("2"), Id("3")

FRESH, REVALIDATE, IF_ERROR, GONE = 10, 310, 400, 1400
"""Ages of entries."""


def entry(age: float, rating: Rating = 1, *, cap: float | None = None) -> Entry:
    return FRESHNESS.entry(rating, NOW - age, fresh_seconds=300, cap=cap)


def plan(directives: Directives = NO_DIRECTIVES, *ids: Id) -> ReadPlan:
    return ReadPlan(ids or (ONE,), directives, FRESHNESS, NOW)


def take(
    made: ReadPlan, entries: dict[Id, Entry], *, from_redis: bool = False, trusted_since: float = -inf
) -> LookupCounts:
    return made.take(Lookup(entries=entries, trusted_since=trusted_since), from_redis=from_redis)


def resolved(directives: Directives, age: float, *, stale_allowed: bool = True) -> ReadPlan:
    """A plan for one id whose entry has this age."""
    made = plan(directives)
    take(made, {ONE: entry(age)})
    made.resolve(stale_allowed=stale_allowed)
    return made


class TestTake:
    def test_fresh_entries_are_served_and_the_rest_is_missing(self):
        made = plan(NO_DIRECTIVES, ONE, TWO)
        counted = take(made, {ONE: entry(FRESH)})
        assert (list(made.served), list(made.missing)) == ([ONE], [TWO])
        assert counted == LookupCounts(hit=1, miss=1)

    def test_every_id_is_missing_from_an_empty_tier(self):
        made = plan(NO_DIRECTIVES, ONE, TWO)
        assert take(made, {}) == LookupCounts(miss=2)
        assert list(made.missing) == [ONE, TWO]

    @pytest.mark.parametrize("others", [(), (THREE,)], ids=["all found", "one missing"])
    def test_ids_that_share_an_entry_count_each(self, others):
        liked, unrated = entry(FRESH), entry(FRESH, None)
        made = plan(NO_DIRECTIVES, ONE, TWO, Id("4"), *others)
        counted = take(made, {ONE: liked, TWO: unrated, Id("4"): unrated})
        assert counted == LookupCounts(hit=1, negative=2, miss=len(others))
        assert made.counts == TierCounts(local=3)

    def test_only_ids_asked_for_are_served(self):
        made = plan(NO_DIRECTIVES, TWO)
        take(made, {ONE: entry(FRESH), TWO: entry(FRESH, -1)})
        assert {id_: served.rating for id_, served in made.served.items()} == {TWO: -1}

    def test_hits_of_the_second_tier_count_as_shared(self):
        made = plan()
        take(made, {})
        take(made, {ONE: entry(FRESH)}, from_redis=True)
        assert made.counts == TierCounts(shared=1)

    def test_the_second_tier_is_asked_only_for_missing_ids(self):
        made = plan(NO_DIRECTIVES, ONE, TWO)
        take(made, {ONE: entry(FRESH)})
        counted = take(made, {ONE: entry(FRESH, -1), TWO: entry(FRESH, -1)}, from_redis=True)
        assert counted == LookupCounts(hit=1)
        assert {id_: served.rating for id_, served in made.served.items()} == {ONE: 1, TWO: -1}

    @pytest.mark.parametrize("directives", [Directives(no_cache=True), Directives(max_age=5)])
    def test_a_fresh_entry_that_a_directive_rejects_counts_as_a_miss(self, directives):
        assert take(plan(directives), {ONE: entry(FRESH)}) == LookupCounts(miss=1)

    def test_a_stale_entry_counts_as_stale(self):
        assert take(plan(), {ONE: entry(REVALIDATE)}) == LookupCounts(stale=1)

    def test_an_entry_past_its_use_counts_as_a_miss(self):
        assert take(plan(), {ONE: entry(GONE)}) == LookupCounts(miss=1)

    @pytest.mark.parametrize("others", [(), (TWO,)], ids=["all found", "one stale"])
    def test_hits_are_what_is_served_fresh(self, others):
        made = plan(NO_DIRECTIVES, ONE, *others)
        hit = entry(FRESH)
        take(made, {ONE: hit, TWO: entry(REVALIDATE)})
        made.resolve(stale_allowed=True)
        assert list(made.served) == [ONE, *others]
        assert [[*each] for each in made.hits] == [[ONE], [hit]]

    def test_an_entry_is_served_from_the_moment_it_is_trusted(self):
        made = plan()
        take(made, {ONE: entry(FRESH)}, trusted_since=NOW - FRESH)
        assert not made.missing

    @pytest.mark.parametrize("others", [(), (TWO,)], ids=["all found", "one missing"])
    def test_the_plan_has_the_oldest_and_the_soonest_stale_entry_served(self, others):
        made = plan(NO_DIRECTIVES, ONE, THREE, *others)
        take(made, {ONE: entry(20), THREE: entry(FRESH, cap=15)})
        assert (made.oldest, made.soonest) == (NOW - 20, NOW + 5)


class TestHold:
    def test_a_held_rating_is_served_under_any_directive(self):
        made = plan(Directives(no_cache=True))
        counted = made.hold({ONE: entry(FRESH)}, from_redis=False)
        assert (list(made.served), list(made.missing)) == ([ONE], [])
        assert counted == LookupCounts(hit=1)

    def test_a_held_rating_comes_before_the_entry_of_its_id(self):
        made = plan()
        made.hold({ONE: entry(FRESH, -1)}, from_redis=False)
        take(made, {ONE: entry(FRESH)})
        assert made.served[ONE].rating == -1

    def test_a_held_removal_counts_as_negative(self):
        assert plan().hold({ONE: entry(FRESH, None)}, from_redis=True) == LookupCounts(negative=1)

    def test_holds_of_other_ids_are_ignored(self):
        made = plan()
        assert made.hold({TWO: entry(FRESH)}, from_redis=False) == LookupCounts()
        assert (made.served, list(made.missing)) == ({}, [ONE])


class TestResolve:
    def test_a_stale_entry_is_served_and_refreshed(self):
        made = resolved(NO_DIRECTIVES, REVALIDATE)
        assert (list(made.served), made.refresh, list(made.missing)) == ([ONE], [ONE], [])
        assert made.counts == TierCounts(local=1, stale=1)

    def test_a_fresh_entry_of_the_second_tier_comes_before_a_stale_one(self):
        made = plan()
        take(made, {ONE: entry(REVALIDATE)})
        take(made, {ONE: entry(FRESH)}, from_redis=True)
        made.resolve(stale_allowed=True)
        assert (made.counts, made.refresh) == (TierCounts(shared=1), [])

    def test_the_youngest_stale_entry_is_served(self):
        made = plan()
        take(made, {ONE: entry(REVALIDATE + 10)})
        take(made, {ONE: entry(REVALIDATE)}, from_redis=True)
        take(made, {ONE: entry(REVALIDATE + 20)}, from_redis=True)
        made.resolve(stale_allowed=True)
        assert made.served[ONE].fetched_at == NOW - REVALIDATE

    def test_no_stale_entry_is_served_if_none_is_allowed(self):
        assert list(resolved(NO_DIRECTIVES, REVALIDATE, stale_allowed=False).missing) == [ONE]

    @pytest.mark.parametrize(
        ("directives", "age", "served"),
        [
            (Directives(no_cache=True), FRESH, False),
            (Directives(no_cache=True), REVALIDATE, False),
            (Directives(max_age=20), FRESH, True),
            (Directives(max_age=5), FRESH, False),
            (Directives(max_age=1000), REVALIDATE, False),
            (Directives(max_stale=50), REVALIDATE, True),
            (Directives(max_stale=50), IF_ERROR, False),
            (Directives(max_stale=inf), IF_ERROR, True),
            (Directives(max_stale=inf), GONE, False),
            (Directives(max_stale=50, max_age=200), REVALIDATE, False),
            (Directives(no_store=True), FRESH, True),
            (Directives(only_if_cached=True), REVALIDATE, True),
            (Directives(only_if_cached=True), IF_ERROR, False),
        ],
    )
    def test_directives_decide_what_is_served(self, directives, age, served):
        assert (not resolved(directives, age).missing) is served

    @pytest.mark.parametrize("directives", [Directives(only_if_cached=True), Directives(no_store=True)])
    def test_only_if_cached_and_no_store_refresh_nothing(self, directives):
        made = resolved(directives, REVALIDATE)
        assert (list(made.served), made.refresh) == ([ONE], [])

    def test_max_stale_does_not_serve_an_entry_whose_paired_type_was_written(self):
        made = plan(Directives(max_stale=inf))
        take(made, {ONE: entry(FRESH, cap=5)})
        made.resolve(stale_allowed=True)
        assert list(made.missing) == [ONE]

    @pytest.mark.parametrize("directives", [NO_DIRECTIVES, Directives(max_stale=inf)])
    def test_an_untrusted_entry_is_served_only_if_apple_fails(self, directives):
        made = plan(directives)
        take(made, {ONE: entry(FRESH)}, trusted_since=NOW)
        made.resolve(stale_allowed=True)
        assert list(made.missing) == [ONE]
        assert made.candidate(ONE) is not None


class TestStandIn:
    def test_a_stale_entry_stands_in_if_apple_fails(self):
        made = resolved(NO_DIRECTIVES, IF_ERROR)
        made.stand_in(ONE)
        assert list(made.served) == [ONE]
        assert made.counts == TierCounts(local=1, stale=1)

    @pytest.mark.parametrize(
        ("directives", "age"),
        [(Directives(no_cache=True), IF_ERROR), (NO_DIRECTIVES, GONE)],
        ids=["no-cache", "too old"],
    )
    def test_an_entry_that_may_not_be_served_does_not_stand_in(self, directives, age):
        assert resolved(directives, age).candidate(ONE) is None

    def test_a_look_at_the_candidate_serves_and_counts_nothing(self):
        made = resolved(NO_DIRECTIVES, IF_ERROR)
        candidate = made.candidate(ONE)
        assert candidate is not None
        assert candidate.usability is Usability.IF_ERROR
        assert (dict(made.served), made.counts) == ({}, TierCounts())


class TestOverruled:
    @pytest.mark.parametrize(
        ("directives", "age", "overruled"),
        [
            (Directives(max_age=5), FRESH, True),
            (Directives(max_age=5), REVALIDATE, True),
            (Directives(max_stale=5), REVALIDATE, True),
            (Directives(max_age=5), GONE, False),
            (Directives(max_age=20), FRESH, False),
            (NO_DIRECTIVES, IF_ERROR, False),
        ],
    )
    def test_an_entry_that_only_a_directive_rejects_overrules(self, directives, age, overruled):
        assert resolved(directives, age).overruled is overruled

    def test_no_cache_overrules_even_an_empty_cache(self):
        assert plan(Directives(no_cache=True)).overruled
