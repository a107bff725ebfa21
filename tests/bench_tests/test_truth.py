import pytest

from tests.bench.client import Timed
from tests.bench.population import initial_value
from tests.bench.trace import Step
from tests.bench.truth import wrong_ratings

UNRATED = next(id_ for id_ in map(str, range(100)) if initial_value("ada", "albums", id_, 60) == 0)


def read(began: float, ended: float, value: int) -> tuple[Step, Timed]:
    data = f'{{"id":"{UNRATED}","attributes":{{"value":{value}}}}}' if value else ""
    body = f'{{"data":[{data}]}}'.encode()
    return Step(began, "ada", "albums", (UNRATED,)), Timed(200, began, ended - began, body, b"")


def write(began: float, ended: float, value: int) -> tuple[Step, Timed]:
    step = Step(began, "ada", "albums", (UNRATED,), single=True, value=value)
    return step, Timed(200, began, ended - began, b"", b"")


def wrong(*answered, lag=0.0):
    return wrong_ratings(answered, rated_percent=60, lag=lag)


def test_an_unrated_id_without_a_write_must_be_absent():
    assert wrong(read(0, 1, 0)) == 0
    assert wrong(read(0, 1, 1)) == 1


@pytest.mark.parametrize(("value", "count"), [(1, 0), (0, 1), (-1, 1)])
def test_a_read_after_a_write_must_show_it(value, count):
    assert wrong(write(0, 1, 1), read(2, 3, value)) == count


@pytest.mark.parametrize("value", [0, 1])
def test_a_read_that_overlaps_a_write_may_show_either_value(value):
    assert wrong(write(1, 3, 1), read(2, 4, value)) == 0
    assert wrong(write(1, 2, 1), read(0, 3, value)) == 0


def test_a_read_that_ended_before_a_write_must_not_show_it():
    assert wrong(read(0, 1, 1), write(2, 3, 1)) == 1


def test_a_later_write_replaces_an_earlier_one():
    writes = write(0, 1, 1), write(2, 3, -1)
    assert wrong(*writes, read(4, 5, -1)) == 0
    assert wrong(*writes, read(4, 5, 1)) == 1


@pytest.mark.parametrize("value", [1, -1])
def test_of_two_writes_at_once_either_may_have_won(value):
    assert wrong(write(0, 2, 1), write(1, 3, -1), read(4, 5, value)) == 0


def test_another_gateway_may_take_its_time():
    assert wrong(write(0, 1, 1), read(1.05, 1.06, 0), lag=0.1) == 0
    assert wrong(write(0, 1, 1), read(1.15, 1.16, 0), lag=0.1) == 1
