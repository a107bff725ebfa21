from gateway.cache.entry import Entry, Freshness, Usability
from gateway.model import Id

POLICY = Freshness(
    fresh_seconds=300, stale_while_revalidate_seconds=60, stale_if_error_seconds=1000, jitter=0
)
ALWAYS = float("-inf")


def judged(entry: Entry, now: float, trusted_since: float = ALWAYS) -> Usability:
    return POLICY.usability(entry, now, trusted_since)


def test_an_entry_goes_from_fresh_over_stale_to_gone():
    entry = POLICY.entry(Id("1"), None, 1000.0)
    at = [1000, 1299.9, 1300, 1359.9, 1360, 2299.9, 2300]
    assert [judged(entry, now).name for now in at] == [
        "FRESH",
        "FRESH",
        "REVALIDATE",
        "REVALIDATE",
        "IF_ERROR",
        "IF_ERROR",
        "GONE",
    ]


def test_an_age_that_it_comes_with_counts():
    entry = POLICY.entry(Id("1"), None, 1000.0, age=299.0)
    assert (entry.fetched_at, entry.known_at) == (701.0, 1000.0)
    assert judged(entry, 1001.0) is Usability.REVALIDATE


def test_what_comes_in_long_past_its_freshness_does_not_begin_anew():
    assert judged(POLICY.entry(Id("1"), None, 1000.0, age=400.0), 1000.0) is Usability.IF_ERROR
    assert judged(POLICY.entry(Id("1"), None, 1000.0, age=1300.0), 1000.0) is Usability.GONE


def test_jitter_shortens_by_at_most_its_fraction_and_depends_on_the_id_alone():
    jittered = Freshness(
        fresh_seconds=100, stale_while_revalidate_seconds=0, stale_if_error_seconds=0, jitter=0.1
    )
    ends = {jittered.entry(Id(str(n)), None, 0.0).fresh_until for n in range(1000)}
    assert 90 < min(ends) < 91
    assert 99 < max(ends) <= 100
    assert jittered.entry(Id("7"), None, 0.0).fresh_until == jittered.entry(Id("7"), None, 0.0).fresh_until


def test_past_a_cap_it_serves_only_where_apple_fails():
    entry = POLICY.entry(Id("1"), None, 1000.0, cap=10)
    assert judged(entry, 1009.9) is Usability.FRESH
    assert judged(entry, 1010.0) is Usability.IF_ERROR


def test_what_was_stale_before_its_cap_is_not_served_without_asking_either():
    entry = POLICY.entry(Id("1"), None, 1000.0, age=310.0, cap=0.0)
    assert entry.fresh_until == 990.0
    assert judged(entry, 1000.0) is Usability.IF_ERROR


def test_a_cap_within_revalidation_ends_it():
    assert judged(POLICY.entry(Id("1"), None, 1000.0, cap=330), 1340.0) is Usability.IF_ERROR


def test_a_cap_beyond_freshness_changes_nothing():
    assert POLICY.entry(Id("1"), None, 0.0, cap=1000) == POLICY.entry(Id("1"), None, 0.0)


def test_a_hold_outlasts_a_shorter_freshness():
    assert judged(POLICY.entry(Id("1"), None, 0.0, held_seconds=400), 350) is Usability.FRESH


def test_what_came_in_before_news_was_lost_serves_only_where_apple_fails():
    entry = POLICY.entry(Id("1"), None, 1000.0)
    assert judged(entry, 1001, trusted_since=1000.0) is Usability.FRESH
    assert judged(entry, 1001, trusted_since=1000.1) is Usability.IF_ERROR


def test_it_is_believed_by_when_it_was_asked_for_and_not_by_when_it_came():
    entry = POLICY.entry(Id("1"), None, 1000.0, known_at=997.0)
    assert entry.fetched_at == 1000.0
    assert judged(entry, 1001, trusted_since=998.0) is Usability.IF_ERROR


def test_without_stale_if_error_an_entry_past_revalidation_is_gone():
    policy = Freshness(fresh_seconds=1, stale_while_revalidate_seconds=5, stale_if_error_seconds=0, jitter=0)
    entry = policy.entry(Id("1"), None, 0.0)
    assert policy.usability(entry, 5.9, ALWAYS) is Usability.REVALIDATE
    assert policy.usability(entry, 5.9, 1.0) is Usability.GONE
    assert policy.usability(entry, 6.0, ALWAYS) is Usability.GONE


def test_lifetime_is_freshness_and_the_longer_of_the_stale_times():
    assert POLICY.lifetime_seconds == 1300
