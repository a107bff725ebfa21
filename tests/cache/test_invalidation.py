import math

import msgspec
import pytest

from gateway.cache.invalidation import (
    LATE_SECONDS,
    MAX_LATE,
    MAX_ORIGINS,
    OBSERVATIONS,
    Continuity,
    Drop,
    DropPaired,
    Invalidation,
    Purge,
    Sequences,
    ServerTime,
    Throttled,
    decode_message,
    encode_message,
)
from gateway.model import Id, Kind

KEY = bytes(range(16))
TRUST = 1.0


@pytest.mark.parametrize(
    "invalidation",
    [
        Drop(KEY, Kind.ALBUMS, (Id("1"), Id("2"))),
        DropPaired(KEY, Kind.LIBRARY_ALBUMS),
        Purge(KEY),
        Purge(KEY, Kind.SONGS, (Id("1"),)),
        Throttled(2.5),
    ],
)
def test_a_message_carries_its_origin_and_invalidations(invalidation: Invalidation) -> None:
    message = decode_message(encode_message("me", invalidation, DropPaired(KEY, Kind.SONGS)))
    assert message.origin == "me"
    assert message.invalidations == (invalidation, DropPaired(KEY, Kind.SONGS))


@pytest.mark.parametrize("data", [b"", b"nonsense", b'{"origin":"x","news":[{"type":"later"}]}', b"\xff"])
def test_a_malformed_message_is_rejected(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_message(data)


def proven(*beats: float) -> Continuity:
    """Subscribed at 100, with heartbeats sent and received at these times."""
    continuity = Continuity(TRUST)
    continuity.subscribed(100.0)
    for beat in beats:
        continuity.beat_received(beat, beat)
    return continuity


def test_without_a_heartbeat_entries_are_trusted_for_the_trust_time() -> None:
    assert Continuity(TRUST).trusted_since(50.0) == 49.0
    assert proven().trusted_since(100.5) == 99.5


def test_entries_since_the_subscription_are_trusted_while_heartbeats_arrive() -> None:
    continuity = proven(100.25, 101.0, 102.0, 103.0)
    assert continuity.up(104.0)
    assert continuity.trusted_since(104.0) == 100.0


def test_entries_from_just_before_the_subscription_are_trusted_for_the_trust_time() -> None:
    assert proven(100.25).trusted_since(100.5) == 99.5


def test_entries_are_trusted_for_the_trust_time_once_heartbeats_stop() -> None:
    continuity = proven(100.25, 101.0)
    assert not continuity.up(102.25)
    assert continuity.trusted_since(102.25) == 101.25


def test_a_gap_longer_than_the_trust_time_restarts_the_period() -> None:
    continuity = proven(100.25, 101.0, 103.0)
    assert continuity.trusted_since(105.0) == 104.0
    continuity.beat_received(104.0, 104.5)
    assert continuity.trusted_since(105.0) == 103.0


def test_a_new_subscription_restarts_the_period() -> None:
    continuity = proven(100.25, 101.0)
    continuity.subscribed(101.5)
    assert not continuity.up(101.5)
    continuity.beat_received(102.0, 102.0)
    assert continuity.trusted_since(103.0) == 101.5


def test_a_heartbeat_counts_from_when_it_was_sent() -> None:
    continuity = proven()
    continuity.beat_received(100.25, 101.0)
    assert continuity.up(101.25)
    assert not continuity.up(101.5)


def test_a_late_heartbeat_does_not_replace_a_newer_one() -> None:
    continuity = proven(100.25, 101.0)
    continuity.beat_received(100.5, 101.25)
    assert continuity.up(102.0)


def test_trust_never_starts_in_the_future() -> None:
    assert proven(100.25).trusted_since(100.25) < 100.25
    assert math.isfinite(proven().trusted_since(0.0))


def test_a_message_without_a_number_has_the_bytes_of_older_releases() -> None:
    data = encode_message("me", Throttled(2.0))
    assert data == b'{"origin":"me","news":[{"type":"throttled","seconds":2.0}]}'


def test_number_and_time_are_optional_fields() -> None:
    data = encode_message("me", Throttled(2.0), sequence=3)[:-1] + b',"published":1700000000000000}'
    message = decode_message(data)
    assert (message.sequence, message.published) == (3, 1_700_000_000_000_000)


class TestSequences:
    @pytest.fixture
    def sequences(self) -> Sequences:
        return Sequences()

    def receive(self, sequences: Sequences, *numbers: int, origin: str = "one", now: float = 0.0) -> None:
        for number in numbers:
            sequences.received(origin, number, now)

    def test_numbers_without_a_gap_miss_nothing(self, sequences: Sequences) -> None:
        self.receive(sequences, 7, 8, 9)
        assert sequences.missed(1.0) == 0

    def test_a_missing_message_counts_as_missed_once_it_is_late(self, sequences: Sequences) -> None:
        self.receive(sequences, 1, 4)
        assert sequences.missed(LATE_SECONDS / 2) == 0
        assert sequences.missed(LATE_SECONDS) == 2
        assert sequences.missed(2 * LATE_SECONDS) == 0

    def test_messages_out_of_order_are_not_missed(self, sequences: Sequences) -> None:
        self.receive(sequences, 1, 4, 2, 3, 5)
        assert sequences.missed(LATE_SECONDS) == 0

    def test_every_origin_counts_by_itself(self, sequences: Sequences) -> None:
        self.receive(sequences, 1, 2)
        self.receive(sequences, 50, 51, origin="two")
        assert sequences.missed(LATE_SECONDS) == 0

    def test_a_new_subscription_starts_over(self, sequences: Sequences) -> None:
        self.receive(sequences, 1, 4)
        sequences.reset()
        self.receive(sequences, 9)
        assert sequences.missed(LATE_SECONDS) == 0

    def test_a_gap_too_large_to_wait_for_counts_at_once(self, sequences: Sequences) -> None:
        self.receive(sequences, 1, MAX_LATE + 12)
        assert sequences.missed(0.0) == 10
        assert sequences.missed(LATE_SECONDS) == MAX_LATE

    def test_the_origins_followed_are_bounded(self, sequences: Sequences) -> None:
        self.receive(sequences, 1)
        for number in range(MAX_ORIGINS):
            self.receive(sequences, 1, origin=f"gateway {number}")
        self.receive(sequences, 5)
        assert sequences.missed(LATE_SECONDS) == 0


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
