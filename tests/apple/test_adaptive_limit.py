"""How many calls may be in flight, by what Apple answered."""

from gateway.apple.adaptive_limit import DECREASE, HALVED, AdaptiveLimit


def answered(limit: AdaptiveLimit) -> AdaptiveLimit:
    """The limit after many answers that were no 429."""
    for _ in range(100):
        limit.succeeded()
    return limit


class TestLimit:
    def test_it_begins_at_its_bound_and_never_passes_it(self):
        limit = AdaptiveLimit(8)
        limit.succeeded()
        assert limit.current == 8

    def test_a_429_among_many_answers_lowers_it_by_a_tenth(self):
        limit = answered(AdaptiveLimit(10))
        assert limit.throttled(0.0) == DECREASE
        assert limit.current == 9

    def test_where_most_answers_are_429s_it_is_halved(self):
        limit = AdaptiveLimit(10)
        limit.succeeded()
        assert limit.throttled(0.0) == HALVED
        assert limit.current == 5

    def test_it_is_lowered_at_most_once_in_half_a_second(self):
        limit = AdaptiveLimit(100)
        limit.throttled(0.0)
        assert limit.throttled(0.49) is None
        assert limit.current == 50
        assert limit.throttled(0.5)
        assert limit.current == 25

    def test_it_never_falls_below_one(self):
        limit = AdaptiveLimit(2)
        for moment in range(20):
            limit.throttled(float(moment))
        assert limit.current == 1

    def test_as_many_successes_as_the_limit_raise_it_by_about_one(self):
        limit = answered(AdaptiveLimit(100))
        limit.throttled(0.0)
        for _ in range(89):
            limit.succeeded()
        assert limit.current == 90
        for _ in range(3):
            limit.succeeded()
        assert limit.current == 91
