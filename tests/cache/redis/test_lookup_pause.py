"""Lookups are refused while a node refuses writes, and while writes that it missed are replayed."""

import pytest

from gateway.cache.redis.commands import COMMAND_SECONDS
from gateway.cache.redis.connect import CONNECT_SECONDS
from gateway.cache.redis.dispatcher import BACKOFF_SECONDS, STALL_SECONDS
from gateway.cache.redis.errors import FailureKind
from gateway.cache.redis.heartbeat import MAX_BEAT_SECONDS
from gateway.cache.redis.lookup_pause import BLIP_SECONDS, REPLAY_SECONDS, RETURN_SECONDS, LookupPause

NOW = 1000.0
NEARLY = 0.999


@pytest.fixture
def pause() -> LookupPause:
    """Of a node whose first connection was made a minute ago."""
    pause = LookupPause()
    pause.opened(NOW - 60, at_once=True)
    return pause


def test_the_first_connection_waits_for_nothing(pause: LookupPause) -> None:
    assert pause.kind is None


def test_a_connection_that_is_opened_again_at_once_waits_for_nothing(pause: LookupPause) -> None:
    pause.alive_at = NOW - NEARLY * BLIP_SECONDS
    assert not pause.opened(NOW, at_once=True)
    assert pause.kind is None


@pytest.mark.parametrize(
    ("silent", "at_once"),
    [(BLIP_SECONDS, True), (0.0, False)],
    ids=["after silence", "after an attempt that failed"],
)
def test_a_node_that_was_away_is_not_looked_up_until_writes_were_replayed(
    pause: LookupPause, silent: float, *, at_once: bool
) -> None:
    pause.alive_at = NOW - silent
    assert pause.opened(NOW, at_once=at_once)
    assert pause.kind is FailureKind.UNAVAILABLE
    assert pause.reason == "missed writes are being replayed"
    assert not pause.note(None, NOW + NEARLY * RETURN_SECONDS)
    assert pause.note(None, NOW + RETURN_SECONDS)
    assert pause.reason is None


def test_a_gateway_that_started_without_redis_waits_too() -> None:
    pause = LookupPause()
    assert pause.opened(NOW, at_once=False)


def test_a_second_return_starts_the_wait_again(pause: LookupPause) -> None:
    pause.opened(NOW, at_once=False)
    pause.opened(NOW + 1, at_once=False)
    assert not pause.note(None, NOW + RETURN_SECONDS)
    assert pause.note(None, NOW + 1 + RETURN_SECONDS)


def test_a_blip_does_not_end_the_wait(pause: LookupPause) -> None:
    pause.opened(NOW, at_once=False)
    pause.opened(NOW + NEARLY * BLIP_SECONDS, at_once=True)
    assert pause.kind is FailureKind.UNAVAILABLE


def test_a_node_that_returns_as_a_replica_is_not_looked_up_for_as_long_as_it_refuses_writes(
    pause: LookupPause,
) -> None:
    pause.opened(NOW, at_once=False)
    assert pause.note(FailureKind.READONLY, NOW + 0.1)
    assert not pause.note(None, NOW + NEARLY * RETURN_SECONDS)
    pause.note(FailureKind.READONLY, NOW + RETURN_SECONDS)
    assert not pause.note(None, NOW + RETURN_SECONDS + NEARLY * REPLAY_SECONDS)
    assert pause.reason == FailureKind.READONLY
    assert pause.note(None, NOW + RETURN_SECONDS + REPLAY_SECONDS)


def test_lookups_wait_for_the_slowest_gateway_to_connect() -> None:
    assert CONNECT_SECONDS + BACKOFF_SECONDS[-1] < RETURN_SECONDS


def test_no_gateway_gives_writes_up_within_a_blip() -> None:
    assert MAX_BEAT_SECONDS < BLIP_SECONDS < min(STALL_SECONDS, COMMAND_SECONDS)
