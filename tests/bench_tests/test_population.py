from tests.bench.population import RATINGS_PER_USER, USERS, ids, lists, token


def test_no_two_users_share_an_id():
    assert not set(ids(1, 20_000)) & set(ids(2, 20_000))


def test_tokens_differ_and_are_as_long_as_apples():
    assert len({token(number) for number in range(100)}) == 100
    assert len(token(1)) == 320


def test_the_lists_hold_every_id_once_and_begin_with_each_user():
    made = lists(USERS * RATINGS_PER_USER // 25, 25)
    asked = [id_ for ask in made for id_ in ask.target.partition("ids=")[2].split(",")]
    assert len(asked) == len(set(asked)) == USERS * RATINGS_PER_USER
    assert len({ask.user for ask in made[:USERS]}) == USERS
