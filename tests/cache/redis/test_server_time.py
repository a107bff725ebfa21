import pytest

from gateway.cache.redis.server_time import OBSERVATIONS, ServerTime

NODE = "redis:6379"


@pytest.fixture
def server_time() -> ServerTime:
    return ServerTime()


def test_it_is_unknown_before_the_first_reply_and_after_a_reset(server_time):
    assert server_time.at(NODE, 1.0) is None
    server_time.observe(NODE, 1.0, 1.0, 500.0)
    server_time.reset()
    assert server_time.at(NODE, 1.0) is None


def test_it_goes_on_from_the_middle_of_the_round_trip(server_time):
    server_time.observe(NODE, 10.0, 10.2, 500.0)
    assert server_time.at(NODE, 20.1) == pytest.approx(510.0)


def test_the_shortest_round_trip_counts(server_time):
    server_time.observe(NODE, 10.0, 10.002, 500.001)
    server_time.observe(NODE, 11.0, 13.0, 501.9)  # the reply was delayed
    assert server_time.at(NODE, 20.0) == pytest.approx(510.0)


def test_a_clock_that_was_set_is_followed_once_older_replies_have_left(server_time):
    server_time.observe(NODE, 10.0, 10.0, 500.0)
    for n in range(OBSERVATIONS):
        server_time.observe(NODE, 11.0 + n, 11.2 + n, 601.1 + n)
    assert server_time.at(NODE, 30.0) == pytest.approx(620.0)


def test_every_node_has_a_clock_of_its_own(server_time):
    server_time.observe(NODE, 1.0, 1.0, 100.0)
    server_time.observe("other", 1.0, 1.0, 900.0)
    assert (server_time.at(NODE, 2.0), server_time.at("other", 2.0)) == (101.0, 901.0)
