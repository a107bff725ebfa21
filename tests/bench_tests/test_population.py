from collections import Counter
from itertools import islice
from random import Random

from tests.bench.population import (
    IDS_PER_REQUEST,
    RATINGS_PER_USER,
    USERS,
    ids,
    initial_value,
    new_lists,
    repeated_lists,
    token,
)


def asked(ask):
    return ask.target.partition("ids=")[2].split(",")


def test_no_two_users_share_an_id():
    assert not set(ids(1, 20_000)) & set(ids(2, 20_000))


def test_tokens_differ_and_are_as_long_as_apples():
    assert len({token(number) for number in range(100)}) == 100
    assert len(token(1)) == 320


def test_the_repeated_lists_hold_every_id_once_and_begin_with_each_user():
    made = repeated_lists()
    every = [id_ for ask in made for id_ in asked(ask)]
    assert len(made) == 256
    assert len(every) == len(set(every)) == USERS * RATINGS_PER_USER
    assert len({ask.user for ask in made[:USERS]}) == USERS


def test_a_new_list_was_never_asked_before():
    made = list(islice(new_lists(Random(1)), 4_096))
    assert len({ask.target for ask in made}) == 4_096
    assert all(len(set(asked(ask))) == IDS_PER_REQUEST for ask in made)


def test_all_is_rated_where_a_hundred_percent_are():
    values = Counter(initial_value(token(1), "albums", id_, 100) for id_ in ids(1, 1_000))
    assert set(values) == {1, -1}
    assert 50 < values[-1] < 150


def test_the_rest_is_unrated():
    values = Counter(initial_value(token(1), "albums", id_, 60) for id_ in ids(1, 1_000))
    assert 300 < values[0] < 500
