from tests.bench.floor import least_calls
from tests.bench.trace import Step


def calls(*steps: Step, top_up: bool = False) -> int:
    return least_calls(steps, fresh_seconds=10.0, patience=0.05, top_up=top_up)


def step(
    moment: float, *ids: object, user: str = "ada", kind: str = "albums", value: int | None = None
) -> Step:
    return Step(moment, user, kind, tuple(map(str, ids)), value=value)


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


def test_a_write_costs_no_read_and_is_fresh_from_then_on():
    assert calls(step(0, 1, value=1), step(9, 1)) == 0
    assert calls(step(0, 1, value=1), step(11, 1)) == 1


def test_free_seats_refresh_what_was_asked_for_before():
    trace = [step(0, 1), step(8, 2), step(12, 1), step(17, 2)]
    assert calls(*trace) == 3
    assert calls(*trace, top_up=True) == 2


def test_free_seats_go_to_the_ids_that_expire_first():
    first, second = range(99), range(100, 199)
    trace = [step(0, *first), step(1, *second), step(5, 500), step(10.5, *first)]
    assert calls(*trace, top_up=True) == 3
    assert calls(*trace, step(11.5, *second), top_up=True) == 4


def test_a_full_call_has_no_free_seats():
    trace = [step(0, 1), step(8, *range(100, 200)), step(12, 1)]
    assert calls(*trace, top_up=True) == 3


def test_no_request_no_call():
    assert calls() == 0
