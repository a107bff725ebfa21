import pytest

from gateway.model import Kind
from gateway.sandbox.store import RatingStore, Standing

TOKEN = "sandbox-user-dora"


@pytest.fixture
def store() -> RatingStore:
    store = RatingStore()
    store.add_user(TOKEN, ratings={Kind.SONGS: {"1": 1, "2": -1}})
    return store


def shown(store: RatingStore, now: float, id_: str = "1") -> int | None:
    return store.read(TOKEN, Kind.SONGS, [id_], now=now).get(id_)


def test_reads_leave_out_what_is_unrated_and_keep_the_order_asked(store):
    assert list(store.read(TOKEN, Kind.SONGS, ["2", "9", "1", "2"], now=0).items()) == [("2", -1), ("1", 1)]


def test_ratings_of_one_kind_are_not_those_of_another(store):
    assert store.read(TOKEN, Kind.ALBUMS, ["1"], now=0) == {}


def test_a_write_without_lag_shows_at_once(store):
    store.write(TOKEN, Kind.SONGS, "1", -1, now=5)
    assert shown(store, 5) == -1


def test_a_write_with_lag_shows_the_old_value_until_the_lag_is_over(store):
    store.write(TOKEN, Kind.SONGS, "1", -1, now=5, lag=2)
    assert [shown(store, now) for now in (5, 6.9, 7)] == [1, 1, -1]


def test_a_late_delete_shows_the_rating_until_the_lag_is_over(store):
    store.write(TOKEN, Kind.SONGS, "1", None, now=5, lag=2)
    assert [shown(store, now) for now in (6, 7)] == [1, None]


def test_the_first_rating_of_an_id_shows_as_unrated_until_the_lag_is_over(store):
    store.write(TOKEN, Kind.SONGS, "9", 1, now=5, lag=2)
    assert [shown(store, now, "9") for now in (6, 7)] == [None, 1]


def test_a_second_write_leaves_the_value_that_still_shows(store):
    store.write(TOKEN, Kind.SONGS, "1", -1, now=0, lag=10)
    store.write(TOKEN, Kind.SONGS, "1", None, now=1, lag=20)
    assert [shown(store, now) for now in (2, 10, 21)] == [1, -1, None]


def test_a_newer_write_that_shows_earlier_is_not_undone_by_an_older_one(store):
    store.write(TOKEN, Kind.SONGS, "1", -1, now=0, lag=10)
    store.write(TOKEN, Kind.SONGS, "1", None, now=1)
    assert [shown(store, now) for now in (1, 10)] == [None, None]


def test_values_that_can_never_show_again_are_dropped(store):
    for now in range(100):
        store.write(TOKEN, Kind.SONGS, "1", 1, now=now, lag=1)
    account = store.account(TOKEN)
    assert max(len(written) for written in account.written.values()) <= 3


def test_both_sides_of_a_pair_have_one_rating(store):
    store.pair(Kind.SONGS, "1", "i.1")
    store.write(TOKEN, Kind.LIBRARY_SONGS, "i.1", -1, now=0)
    assert shown(store, 0) == -1
    store.write(TOKEN, Kind.SONGS, "1", None, now=1)
    assert store.read(TOKEN, Kind.LIBRARY_SONGS, ["i.1"], now=1) == {}


@pytest.mark.parametrize("kind", [Kind.STATIONS, Kind.LIBRARY_SONGS])
def test_only_a_catalog_kind_with_a_library_side_can_be_paired(store, kind):
    with pytest.raises(ValueError, match="no library side"):
        store.pair(kind, "1", "i.1")


def test_a_user_is_found_by_token_and_by_label(store):
    assert store.account(TOKEN) is store.account("dora")


def test_a_label_is_not_accepted_as_a_token(store):
    assert store.holder("dora") is None


def test_adding_a_user_again_replaces_ratings_label_and_standing(store):
    store.add_user(TOKEN, label="other", standing=Standing.REVOKED)
    assert store.account("dora") is None
    assert store.account("other").standing is Standing.REVOKED
    assert store.ratings(TOKEN, now=0) == {}


def test_two_users_cannot_have_one_label(store):
    with pytest.raises(ValueError, match="another user's"):
        store.add_user("someone-else", label="dora")


def test_an_unknown_user_is_labelled_by_digest(store):
    label = store.label("an-unknown-token")
    assert label.startswith("unknown-")
    assert "token" not in label
    assert store.label("another-token") != label


def test_writing_for_an_unknown_user_is_an_error(store):
    with pytest.raises(KeyError, match="nobody"):
        store.write("nobody", Kind.SONGS, "1", 1, now=0)


def test_all_ratings_of_a_user_are_listed_without_the_unrated(store):
    store.write(TOKEN, Kind.SONGS, "2", None, now=0)
    assert store.ratings(TOKEN, now=0) == {Kind.SONGS: {"1": 1}}


def test_a_cleared_store_has_no_users_and_no_pairs(store):
    store.pair(Kind.SONGS, "1", "i.1")
    store.clear()
    store.add_user(TOKEN, ratings={Kind.SONGS: {"1": 1}})
    assert [account.token for account in store] == [TOKEN]
    assert store.read(TOKEN, Kind.LIBRARY_SONGS, ["i.1"], now=0) == {}
