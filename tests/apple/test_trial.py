"""When the tries of a trial failed."""

from math import inf

from gateway.apple.trial import PriorFailures, Trial


def test_the_first_failure_and_the_last_try_that_failed_are_dated():
    trial = Trial(b"a" * 16, 1.0)
    assert (trial.first_failed, trial.last_began) == (inf, -inf)
    trial.try_failed(1.0, 4.0)
    assert (trial.first_failed, trial.last_began) == (4.0, 1.0)
    trial.try_failed(6.0, 7.0)
    trial.try_failed(5.0, 8.0)
    assert (trial.first_failed, trial.last_began) == (4.0, 6.0)


def test_a_failure_of_its_id_before_comes_first():
    trial = Trial(b"a" * 16, 10.0, prior=PriorFailures(first_failed=3.0))
    trial.try_failed(10.0, 11.0)
    assert (trial.first_failed, trial.last_began) == (3.0, 10.0)
