from tests.bench.floor import least_calls
from tests.bench.trace import Step


def calls(*steps: Step) -> int:
    return least_calls(steps, fresh_seconds=10.0, patience=0.05)


def step(moment: float, *ids: object, user: str = "ada", kind: str = "albums") -> Step:
    return Step(moment, user, kind, tuple(map(str, ids)))


def test_an_id_costs_one_call_while_it_is_fresh():
    assert calls(step(0, 1), step(1, 1), step(9, 1)) == 1


def test_it_costs_another_one_when_it_is_not():
    assert calls(step(0, 1), step(10.06, 1)) == 2


def test_it_is_fresh_from_the_end_of_the_patience_on():
    assert calls(step(0, 1), step(10.04, 1)) == 1


def test_misses_within_the_patience_share_a_call():
    assert calls(step(0, 1), step(0.02, 2), step(0.05, 3)) == 1


def test_patience_begins_with_the_first_miss():
    assert calls(step(0, 1), step(0.04, 2), step(0.08, 3)) == 2


def test_a_call_takes_100_ids():
    assert calls(step(0, *range(100))) == 1
    assert calls(step(0, *range(60)), step(0.01, *range(60, 101))) == 2


def test_users_and_kinds_share_nothing():
    assert calls(step(0, 1), step(0, 1, user="ben"), step(0, 1, kind="songs")) == 3


def test_only_what_is_missing_is_fetched():
    fresh_tail = [step(0, *range(100)), step(5, *range(50, 250))]
    assert calls(*fresh_tail) == 1 + 2


def test_no_request_no_call():
    assert calls() == 0
