import pytest

from tests.bench.contenders import Checkout
from tests.bench.results import Bound, Figure
from tests.bench.stage import NOW, Samples
from tests.bench.stats import Spread

BOTH = [Checkout(NOW), Checkout("v1")]


def test_figures_hold_both_versions_and_their_bound():
    samples = Samples("part", BOTH)
    for now, before in ((1.0, 4.0), (3.0, 4.0), (2.0, 10.0)):
        samples.add("time", NOW, now)
        samples.add("time", "v1", before)
    bound = Bound("at most", 2.5)
    assert samples.figures({"time": bound}) == [
        Figure("part", "time", Spread(2.0, 1.0, 3.0), Spread(4.0, 4.0, 10.0), bound)
    ]


def test_versions_are_compared_round_by_round():
    samples = Samples("part", BOTH)
    for now, before in ((1.0, 2.0), (30.0, 40.0)):
        samples.add("time", NOW, now)
        samples.add("time", "v1", before)
    (figure,) = samples.compared("time", "ratio", {})
    assert (figure.now.low, figure.now.high) == (0.5, 0.75)


def test_one_version_alone_is_compared_with_nothing():
    samples = Samples("part", BOTH[:1])
    samples.add("time", NOW, 1.0)
    assert samples.compared("time", "ratio", {}) == []
    assert samples.figures({})[0].before is None


@pytest.mark.parametrize(
    ("side", "value", "broken"),
    [("at least", 0.9, True), ("at least", 1.0, False), ("at most", 1.1, True), ("at most", 1.0, False)],
)
def test_a_bound_is_broken_beyond_its_limit(side, value, broken):
    figure = Figure("part", "x", Spread(value, value, value), bound=Bound(side, 1.0))
    assert figure.broken is broken
