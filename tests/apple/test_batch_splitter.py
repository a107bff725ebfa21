"""How many ids go into a call, and what refusals teach about it."""

import json

import pytest

from gateway.apple.batch_splitter import BatchSize, refused_as_too_large, timed_out
from gateway.errors import Relayed, Unreachable, Unusable

TOO_LARGE = Relayed(413, b"")
TIMED_OUT = Relayed(504, b"")


def refusal(status: int, **source: str) -> Relayed:
    return Relayed(status, json.dumps({"errors": [{"code": "40005", "source": source}]}).encode())


class TestRefusals:
    @pytest.mark.parametrize(
        "failure",
        [TOO_LARGE, Relayed(414, b""), refusal(400, parameter="ids"), refusal(400, pointer="/ids")],
    )
    def test_these_say_too_large(self, failure):
        assert refused_as_too_large(failure)

    @pytest.mark.parametrize(
        "failure",
        [
            refusal(400, parameter="l"),
            refusal(403, parameter="ids"),
            Relayed(400, b""),
            TIMED_OUT,
            Unusable("html"),
            Unreachable("gone", proxy_error="connection_terminated", sent=True),
        ],
    )
    def test_these_do_not(self, failure):
        assert not refused_as_too_large(failure)

    def test_a_504_is_a_sign_of_its_own(self):
        assert timed_out(TIMED_OUT)
        assert not timed_out(TOO_LARGE)
        assert not timed_out(Unusable("html"))


class TestSize:
    def test_it_is_what_is_configured_until_something_is_learnt(self):
        assert BatchSize(100).current(0.0) == 100

    def test_a_learnt_size_holds_at_once(self):
        sizes = BatchSize(100)
        sizes.learn(50, TOO_LARGE, 0.0)
        assert sizes.current(0.0) == 50

    def test_it_grows_back_by_doubling_every_ten_minutes(self):
        sizes = BatchSize(100)
        sizes.learn(20, TOO_LARGE, 0.0)
        assert [sizes.current(minute * 60.0) for minute in (9, 10, 19, 20, 29, 30, 31)] == [
            20,
            40,
            40,
            80,
            80,
            100,
            100,
        ]

    def test_it_may_be_asked_after_a_long_silence(self):
        sizes = BatchSize(100)
        sizes.learn(1, TOO_LARGE, 0.0)
        assert sizes.current(1e9) == 100

    def test_a_larger_size_teaches_nothing(self):
        sizes = BatchSize(100)
        sizes.learn(20, TOO_LARGE, 0.0)
        sizes.learn(50, TOO_LARGE, 599.0)
        assert sizes.current(599.0) == 20
        assert sizes.current(600.0) == 40

    def test_what_a_504_taught_is_forgotten_after_a_minute(self):
        sizes = BatchSize(100)
        sizes.learn(50, TIMED_OUT, 0.0)
        assert [sizes.current(now) for now in (59.0, 60.0)] == [50, 100]

    def test_504s_never_shrink_it_below_a_quarter(self):
        sizes = BatchSize(100)
        sizes.learn(10, TIMED_OUT, 0.0)
        assert sizes.current(0.0) == 25

    def test_504s_do_not_raise_what_a_refusal_has_taught(self):
        sizes = BatchSize(100)
        sizes.learn(10, TOO_LARGE, 0.0)
        sizes.learn(5, TIMED_OUT, 1.0)
        assert sizes.current(61.0) == 10

    def test_a_504_that_teaches_nothing_does_not_shorten_what_a_refusal_has_taught(self):
        sizes = BatchSize(100)
        sizes.learn(10, TOO_LARGE, 0.0)
        sizes.learn(5, TIMED_OUT, 1.0)
        assert [sizes.current(now) for now in (600.0, 660.0, 1200.0)] == [20, 20, 40]
