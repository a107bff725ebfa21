from collections import Counter

import pytest

from tests.bench.population import IDS_PER_REQUEST
from tests.bench.trace import WAVE_SECONDS, WAVE_USERS, Shape, Step, listeners, steps

SHAPE = Shape(seconds=10.0, users=40, sessions_per_second=10.0, fresh_seconds=5)


@pytest.fixture(scope="module")
def users():
    return listeners(SHAPE.users, seed=1)


@pytest.fixture(scope="module")
def trace(users):
    return steps(SHAPE, users, seed=2)


def test_one_seed_makes_one_trace(users, trace):
    assert steps(SHAPE, listeners(SHAPE.users, seed=1), seed=2) == trace
    assert steps(SHAPE, users, seed=3) != trace


def test_requests_come_in_their_order_and_within_the_time(trace):
    moments = [step.moment for step in trace]
    assert moments == sorted(moments)
    assert 0 <= moments[0] < moments[-1] < SHAPE.seconds


def test_there_are_shelves_pages_and_single_lookups(trace):
    sizes = Counter(len(step.ids) for step in trace)
    assert set(sizes) == {1, 12, IDS_PER_REQUEST}
    assert min(sizes.values()) > len(trace) / 20
    assert {step.kind for step in trace} == {"albums", "songs", "playlists"}


def test_no_request_names_an_id_twice(trace):
    assert all(len(set(step.ids)) == len(step.ids) for step in trace)


def test_every_id_is_in_its_users_library_or_picks(users, trace):
    known = {
        (user.token, kind): {*user.library[kind], *user.picks[kind]}
        for user in users
        for kind in user.library
    }
    assert all(set(step.ids) <= known[step.user, step.kind] for step in trace)


def test_home_screens_overlap_without_being_equal(trace):
    partitions = [
        step for step in trace if step.user == trace[0].user and step.kind == "albums" and not step.single
    ]
    pairs = [(one, other) for one in partitions for other in partitions if one.moment < other.moment]
    assert any(0 < len({*one.ids} & {*other.ids}) < IDS_PER_REQUEST for one, other in pairs)


def test_pages_of_the_library_repeat_their_urls(trace):
    targets = Counter((step.user, step.ask.target) for step in trace if not step.single)
    assert targets.most_common(1)[0][1] > 1


def test_traffic_has_waves(trace):
    busiest = max(
        len({other.user for other in trace if 0 <= other.moment - step.moment < WAVE_SECONDS})
        for step in trace
    )
    assert busiest >= WAVE_USERS


def test_popular_albums_are_in_many_libraries(users):
    owners = Counter(album for user in users for album in user.library["albums"])
    (_, most), *_, (_, least) = owners.most_common()
    assert most > SHAPE.users * 0.8
    assert least == 1


def test_a_single_lookup_has_its_id_in_the_path():
    assert Step(0.0, "u", "albums", ("7",), single=True).ask.target == "/v1/me/ratings/albums/7"
    assert Step(0.0, "u", "albums", ("7", "8")).ask.target == "/v1/me/ratings/albums?ids=7,8"


def test_writes_are_put_and_delete_of_one_id():
    put = Step(0.0, "u", "albums", ("7",), single=True, value=-1).ask
    assert (put.method, put.body) == ("PUT", '{"type":"rating","attributes":{"value":-1}}')
    assert Step(0.0, "u", "albums", ("7",), single=True, value=0).ask.method == "DELETE"


def test_some_plays_end_with_a_write(trace):
    writes = [step for step in trace if step.value is not None]
    assert len(trace) / 100 < len(writes) < len(trace) / 20
    assert {step.value for step in writes} == {1, -1, 0}
