import pytest

from gateway.cache.entry import Entry, Freshness
from gateway.model import Id
from gateway.ratings.plan import ReadPlan
from gateway.ratings.query import NO_DIRECTIVES, Directives

POLICY = Freshness(
    fresh_seconds=300, stale_while_revalidate_seconds=60, stale_if_error_seconds=1000, jitter=0
)
NOW = 10_000.0
ALWAYS = float("-inf")
ONE, TWO = Id("1"), Id("2")


def entry(age: float, resource: bytes | None = b"x", *, cap: float | None = None) -> Entry:
    return POLICY.entry(ONE, resource, NOW - age, cap=cap)


def plan(directives: Directives = NO_DIRECTIVES, *ids: Id) -> ReadPlan:
    return ReadPlan(ids or (ONE,), directives, POLICY, NOW)


def offered(directives: Directives, age: float, *, stale_allowed: bool = True) -> ReadPlan:
    made = plan(directives)
    made.offer({ONE: entry(age)}, shared=False, trusted_since=ALWAYS)
    made.resolve(stale_allowed=stale_allowed)
    return made


FRESH, REVALIDATE, IF_ERROR, GONE = 10, 310, 400, 1400


def test_fresh_entries_are_served_and_the_rest_is_left():
    made = plan(NO_DIRECTIVES, ONE, TWO)
    findings = made.offer({ONE: entry(FRESH)}, shared=False, trusted_since=ALWAYS)
    assert (list(made.served), made.left) == ([ONE], [TWO])
    assert (findings.hit, findings.miss) == (1, 1)


def test_a_fresh_unrated_id_is_a_negative():
    findings = plan().offer({ONE: entry(FRESH, None)}, shared=False, trusted_since=ALWAYS)
    assert (findings.hit, findings.negative) == (0, 1)


def test_what_the_second_tier_serves_counts_as_shared():
    made = plan()
    made.offer({}, shared=False, trusted_since=ALWAYS)
    made.offer({ONE: entry(FRESH)}, shared=True, trusted_since=ALWAYS)
    assert (made.tally.local, made.tally.shared) == (0, 1)


def test_a_stale_entry_is_served_and_refreshed():
    made = offered(NO_DIRECTIVES, REVALIDATE)
    assert (list(made.served), made.refresh, made.left, made.tally.stale) == ([ONE], [ONE], [], 1)


def test_a_fresher_entry_of_the_second_tier_comes_before_a_stale_one():
    made = plan()
    made.offer({ONE: entry(REVALIDATE)}, shared=False, trusted_since=ALWAYS)
    made.offer({ONE: entry(FRESH)}, shared=True, trusted_since=ALWAYS)
    made.resolve(stale_allowed=True)
    assert (made.tally.shared, made.tally.stale, made.refresh) == (1, 0, [])


def test_the_younger_of_two_stale_entries_is_served():
    made = plan()
    made.offer({ONE: entry(REVALIDATE + 10)}, shared=False, trusted_since=ALWAYS)
    made.offer({ONE: entry(REVALIDATE)}, shared=True, trusted_since=ALWAYS)
    made.offer({ONE: entry(REVALIDATE + 20)}, shared=True, trusted_since=ALWAYS)
    made.resolve(stale_allowed=True)
    assert made.served[ONE].fetched_at == NOW - REVALIDATE


def test_no_stale_entry_is_served_to_a_quarantined_user():
    assert offered(NO_DIRECTIVES, REVALIDATE, stale_allowed=False).left == [ONE]


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
        (Directives(max_stale=float("inf")), IF_ERROR, True),
        (Directives(max_stale=float("inf")), GONE, False),
        (Directives(max_stale=50, max_age=200), REVALIDATE, False),
        (Directives(no_store=True), FRESH, True),
        (Directives(only_if_cached=True), REVALIDATE, True),
        (Directives(only_if_cached=True), IF_ERROR, False),
    ],
)
def test_directives_decide_what_is_served(directives, age, served):
    assert (offered(directives, age).left == []) is served


def test_only_if_cached_refreshes_nothing():
    assert offered(Directives(only_if_cached=True), REVALIDATE).refresh == []


def test_max_stale_reaches_no_entry_whose_twin_was_written():
    made = plan(Directives(max_stale=float("inf")))
    made.offer({ONE: entry(FRESH, cap=5)}, shared=False, trusted_since=ALWAYS)
    made.resolve(stale_allowed=True)
    assert made.left == [ONE]


@pytest.mark.parametrize("directives", [NO_DIRECTIVES, Directives(max_stale=float("inf"))])
def test_what_is_not_believed_serves_only_where_apple_fails(directives):
    made = plan(directives)
    made.offer({ONE: entry(FRESH)}, shared=False, trusted_since=NOW)
    made.resolve(stale_allowed=True)
    assert made.left == [ONE]
    assert made.stand_in(ONE)


def test_a_stale_entry_stands_in_where_apple_fails():
    made = offered(NO_DIRECTIVES, IF_ERROR)
    assert made.stand_in(ONE)
    assert (list(made.served), made.tally.stale, made.tally.local) == ([ONE], 1, 1)


@pytest.mark.parametrize(
    ("directives", "age"), [(Directives(no_cache=True), IF_ERROR), (NO_DIRECTIVES, GONE)]
)
def test_nothing_stands_in_where_nothing_may(directives, age):
    assert not offered(directives, age).stand_in(ONE)


def test_an_entry_that_only_a_directive_rejects_is_told_from_a_miss():
    assert offered(Directives(max_age=5), FRESH).overruled
    assert not offered(Directives(max_age=5), GONE).overruled


@pytest.mark.parametrize("directives", [Directives(no_cache=True), Directives(max_age=5)])
def test_a_fresh_entry_that_a_directive_rejects_is_counted_as_no_hit(directives):
    findings = plan(directives).offer({ONE: entry(FRESH)}, shared=False, trusted_since=ALWAYS)
    assert (findings.hit, findings.negative, findings.miss) == (0, 0, 1)


def test_a_held_value_answers_whatever_the_directives_say():
    made = plan(Directives(no_cache=True))
    findings = made.hold({ONE: entry(FRESH)}, shared=False)
    assert (list(made.served), made.left, findings.hit) == ([ONE], [], 1)
