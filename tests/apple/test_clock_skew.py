"""How far Apple's clock is ahead, by what its answers are dated."""

import pytest

from gateway.apple.clock_skew import ClockSkew


def skew_of(*seconds: float) -> ClockSkew:
    skew = ClockSkew()
    for ahead in seconds:
        skew.observe(1000.0 + ahead - 0.5, 1000.0)
    return skew


def test_the_median_of_the_last_five_counts():
    assert skew_of(100.0).seconds == 100.0
    assert skew_of(0.0, 1.0, 9999.0).seconds == 1.0
    assert skew_of(500.0, 500.0, 500.0, 1.0, 2.0, 3.0).seconds == 3.0


@pytest.mark.parametrize(("ahead", "correction"), [(30.0, 0.0), (-30.0, 0.0), (30.1, 30.1), (-31.0, -31.0)])
def test_small_differences_are_not_corrected(ahead, correction):
    assert skew_of(ahead).correction == pytest.approx(correction)


def test_without_a_dated_answer_our_clock_is_used():
    assert ClockSkew().correction == 0.0
