import pytest

from tests.bench.stats import Spread, paired, percentile, rotated


def test_a_spread_has_the_median_between_least_and_greatest():
    assert Spread.of([5.0, 1.0, 2.0]) == Spread(2.0, 1.0, 5.0)


@pytest.mark.parametrize("judge", [Spread.of, lambda none: percentile(none, 0.5)])
def test_no_values_have_no_statistics(judge):
    with pytest.raises(ValueError, match="no values"):
        judge([])


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1.0), (0.01, 1.0), (0.5, 50.0), (0.99, 99.0), (1.0, 100.0)]
)
def test_a_percentile_is_a_value_that_was_measured(share, expected):
    assert percentile([float(n) for n in range(100, 0, -1)], share) == expected


def test_ratios_are_taken_round_by_round():
    assert paired([10.0, 1.0, 6.0], [20.0, 2.0, 6.0]) == Spread(0.5, 0.5, 1.0)


def test_rounds_of_different_number_are_refused():
    with pytest.raises(ValueError, match="zip"):
        paired([1.0], [1.0, 2.0])


def test_every_round_begins_with_another_and_holds_all():
    rounds = [rotated(["a", "b", "c"], number) for number in range(4)]
    assert [names[0] for names in rounds] == ["a", "b", "c", "a"]
    assert all(sorted(names) == ["a", "b", "c"] for names in rounds)
