import math

import msgspec
import pytest

from gateway.cache.invalidation import (
    Continuity,
    Drop,
    DropPaired,
    Invalidation,
    Purge,
    Throttled,
    decode_message,
    encode_message,
)
from gateway.model import Id, Kind

KEY = bytes(range(16))
TRUST = 1.0


@pytest.mark.parametrize(
    "news",
    [
        Drop(KEY, Kind.ALBUMS, (Id("1"), Id("2"))),
        DropPaired(KEY, Kind.LIBRARY_ALBUMS),
        Purge(KEY),
        Purge(KEY, Kind.SONGS, (Id("1"),)),
        Throttled(2.5),
    ],
)
def test_news_goes_over_the_wire_with_its_origin(news: Invalidation) -> None:
    envelope = decode_message(encode_message("me", news, DropPaired(KEY, Kind.SONGS)))
    assert envelope.origin == "me"
    assert envelope.news == (news, DropPaired(KEY, Kind.SONGS))


@pytest.mark.parametrize("data", [b"", b"nonsense", b'{"origin":"x","news":[{"type":"later"}]}', b"\xff"])
def test_what_is_no_news_is_refused(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_message(data)


def proven(*beats: float) -> Continuity:
    """Subscribed at 100, and beats sent and heard at these moments."""
    continuity = Continuity(TRUST)
    continuity.subscribed(100.0)
    for beat in beats:
        continuity.heard(beat, beat)
    return continuity


def test_before_anything_was_heard_entries_are_believed_for_the_trust() -> None:
    assert Continuity(TRUST).believed_since(50.0) == 49.0
    assert proven().believed_since(100.5) == 99.5


def test_while_news_comes_in_everything_since_the_subscription_is_believed() -> None:
    continuity = proven(100.25, 101.0, 102.0, 103.0)
    assert continuity.up(104.0)
    assert continuity.believed_since(104.0) == 100.0


def test_entries_from_just_before_the_subscription_are_believed_for_the_trust() -> None:
    assert proven(100.25).believed_since(100.5) == 99.5


def test_when_the_beat_stops_entries_are_believed_for_the_trust_again() -> None:
    continuity = proven(100.25, 101.0)
    assert not continuity.up(102.25)
    assert continuity.believed_since(102.25) == 101.25


def test_a_gap_longer_than_the_trust_begins_anew() -> None:
    continuity = proven(100.25, 101.0, 103.0)
    assert continuity.believed_since(105.0) == 104.0
    continuity.heard(104.0, 104.5)
    assert continuity.believed_since(105.0) == 103.0


def test_a_new_subscription_begins_anew() -> None:
    continuity = proven(100.25, 101.0)
    continuity.subscribed(101.5)
    assert not continuity.up(101.5)
    continuity.heard(102.0, 102.0)
    assert continuity.believed_since(103.0) == 101.5


def test_a_beat_counts_from_when_it_was_sent() -> None:
    continuity = proven()
    continuity.heard(100.25, 101.0)
    assert continuity.up(101.25)
    assert not continuity.up(101.5)


def test_a_late_beat_does_not_take_back_a_newer_one() -> None:
    continuity = proven(100.25, 101.0)
    continuity.heard(100.5, 101.25)
    assert continuity.up(102.0)


def test_belief_is_never_of_the_future() -> None:
    assert proven(100.25).believed_since(100.25) < 100.25
    assert math.isfinite(proven().believed_since(0.0))
