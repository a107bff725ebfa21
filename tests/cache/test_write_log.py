import tracemalloc

import pytest

from gateway.cache import write_rule
from gateway.cache.write_log import KEPT_SECONDS, MAX_REFUSED, MAX_USER_KINDS, WriteLog
from gateway.model import Id, Kind

ADA, BEN = b"a" * 16, b"b" * 16
ONE = Id("1")
WRITE_SECONDS = 15.0
LIKED = b'{"id":"1"}'


@pytest.fixture
def write_log() -> WriteLog:
    return WriteLog(hold_seconds=10)


def test_a_fetch_that_began_before_a_write_is_not_kept(write_log):
    token = write_log.version
    stamp = write_log.begin((ADA, Kind.ALBUMS), ONE, 0.0, WRITE_SECONDS)
    during = write_log.version
    write_log.end((ADA, Kind.ALBUMS), ONE, stamp, LIKED, 1.0)
    assert not write_log.admits(token, (ADA, Kind.ALBUMS))
    assert not write_log.admits(during, (ADA, Kind.ALBUMS))
    assert write_log.admits(write_log.version, (ADA, Kind.ALBUMS))


def test_refused_fills_are_counted_by_user_and_type_since_a_moment(write_log):
    for at in (1.0, 2.0, 3.0):
        write_log.fill_refused((ADA, Kind.ALBUMS), at)
    write_log.fill_refused((BEN, Kind.ALBUMS), 3.0)
    write_log.fill_refused((ADA, Kind.SONGS), 3.0)
    assert write_log.fills_refused((ADA, Kind.ALBUMS), 2.0) == 2


def test_refused_fills_that_are_remembered_are_bounded(write_log):
    for _ in range(MAX_REFUSED + 1):
        write_log.fill_refused((ADA, Kind.ALBUMS), 1.0)
    assert write_log.fills_refused((ADA, Kind.ALBUMS), 0.0) == MAX_REFUSED


def test_a_write_does_not_void_fetches_of_other_users(write_log):
    token = write_log.version
    write_log.begin((ADA, Kind.ALBUMS), ONE, 0.0, WRITE_SECONDS)
    assert write_log.admits(token, (BEN, Kind.ALBUMS))
    assert write_log.admits(token, (ADA, Kind.SONGS))


def test_a_write_voids_fetches_of_the_paired_type(write_log):
    token = write_log.version
    write_log.begin((ADA, Kind.ALBUMS), ONE, 0.0, WRITE_SECONDS)
    assert not write_log.admits(token, (ADA, Kind.LIBRARY_ALBUMS))


def test_fetches_of_the_paired_type_within_the_hold_are_capped(write_log):
    stamp = write_log.begin((ADA, Kind.ALBUMS), ONE, 0.0, WRITE_SECONDS)
    assert write_log.cap_until((ADA, Kind.LIBRARY_ALBUMS), 1.0) == 10.0
    write_log.end((ADA, Kind.ALBUMS), ONE, stamp, LIKED, 5.0)
    assert write_log.cap_until((ADA, Kind.LIBRARY_ALBUMS), 14.9) == 15.0
    assert write_log.cap_until((ADA, Kind.LIBRARY_ALBUMS), 15.0) is None
    assert write_log.cap_until((ADA, Kind.ALBUMS), 6.0) is None


def test_a_refused_write_does_not_renew_the_cap_of_the_paired_type(write_log):
    stamp = write_log.begin((ADA, Kind.ALBUMS), ONE, 0.0, WRITE_SECONDS)
    write_log.end((ADA, Kind.ALBUMS), ONE, stamp, write_rule.UNCHANGED, 5.0)
    assert write_log.cap_until((ADA, Kind.LIBRARY_ALBUMS), 10.0) is None


def test_a_written_value_is_held_and_then_not(write_log):
    stamp = write_log.begin((ADA, Kind.ALBUMS), ONE, 0.0, WRITE_SECONDS)
    assert isinstance(write_log.end((ADA, Kind.ALBUMS), ONE, stamp, LIKED, 1.0), write_rule.StoredRating)
    assert write_log.holds((ADA, Kind.ALBUMS), 10.9)[ONE].rating == LIKED
    assert not write_log.holds((ADA, Kind.ALBUMS), 11.0)


def test_a_write_in_progress_is_pending(write_log):
    stamp = write_log.begin((ADA, Kind.ALBUMS), ONE, 0.0, WRITE_SECONDS)
    assert write_log.pending((ADA, Kind.ALBUMS), 1.0) == {ONE: stamp}
    assert not write_log.pending((ADA, Kind.ALBUMS), WRITE_SECONDS)
    assert not write_log.pending((BEN, Kind.ALBUMS), 1.0)


def test_writes_that_overlap_hold_nothing(write_log):
    first = write_log.begin((ADA, Kind.ALBUMS), ONE, 0.0, WRITE_SECONDS)
    second = write_log.begin((ADA, Kind.ALBUMS), ONE, 1.0, WRITE_SECONDS)
    write_log.end((ADA, Kind.ALBUMS), ONE, second, LIKED, 2.0)
    write_log.end((ADA, Kind.ALBUMS), ONE, first, None, 3.0)
    assert not write_log.holds((ADA, Kind.ALBUMS), 4.0)
    assert ONE in write_log.pending((ADA, Kind.ALBUMS), 4.0)


def test_a_write_that_another_gateway_overlapped_holds_nothing(write_log):
    stamp = write_log.begin((ADA, Kind.ALBUMS), ONE, 0.0, WRITE_SECONDS)
    write_log.overwritten((ADA, Kind.ALBUMS), [ONE], 1.0)
    assert isinstance(write_log.end((ADA, Kind.ALBUMS), ONE, stamp, LIKED, 2.0), write_rule.PendingWrite)
    assert not write_log.holds((ADA, Kind.ALBUMS), 3.0)


def test_a_write_after_one_that_another_gateway_overlapped_is_alone(write_log):
    first = write_log.begin((ADA, Kind.ALBUMS), ONE, 0.0, WRITE_SECONDS)
    for _ in range(3):
        write_log.overwritten((ADA, Kind.ALBUMS), [ONE], 1.0)
    write_log.end((ADA, Kind.ALBUMS), ONE, first, LIKED, 2.0)
    second = write_log.begin((ADA, Kind.ALBUMS), ONE, 3.0, WRITE_SECONDS)
    write_log.end((ADA, Kind.ALBUMS), ONE, second, None, 4.0)
    assert write_log.holds((ADA, Kind.ALBUMS), 5.0)[ONE].rating is None


def test_another_gateways_write_ends_a_hold(write_log):
    stamp = write_log.begin((ADA, Kind.ALBUMS), ONE, 0.0, WRITE_SECONDS)
    write_log.end((ADA, Kind.ALBUMS), ONE, stamp, LIKED, 1.0)
    token = write_log.version
    write_log.overwritten((ADA, Kind.ALBUMS), [ONE, Id("2")], 2.0)
    assert not write_log.holds((ADA, Kind.ALBUMS), 3.0)
    assert not write_log.admits(token, (ADA, Kind.ALBUMS))


def test_a_purge_voids_fetches_and_leaves_the_hold(write_log):
    stamp = write_log.begin((ADA, Kind.ALBUMS), ONE, 0.0, WRITE_SECONDS)
    write_log.end((ADA, Kind.ALBUMS), ONE, stamp, LIKED, 1.0)
    token = write_log.version
    write_log.purged((ADA, Kind.ALBUMS), 2.0)
    assert not write_log.admits(token, (ADA, Kind.ALBUMS))
    assert ONE in write_log.holds((ADA, Kind.ALBUMS), 3.0)


def test_a_pruned_record_still_voids_the_fetches_from_before_it(write_log):
    token = write_log.version
    write_log.purged((ADA, Kind.ALBUMS), 0.0)
    write_log.purged((BEN, Kind.ALBUMS), KEPT_SECONDS + 10)
    assert len(write_log) == 1
    assert not write_log.admits(token, (ADA, Kind.ALBUMS))
    assert write_log.admits(write_log.version, (ADA, Kind.ALBUMS))


def test_a_write_that_takes_longer_than_records_are_kept_is_still_pending(write_log):
    stamp = write_log.begin((ADA, Kind.ALBUMS), ONE, 0.0, 600.0)
    for at in (100.0, 599.0):
        write_log.purged((BEN, Kind.ALBUMS), at)
        assert write_log.pending((ADA, Kind.ALBUMS), at) == {ONE: stamp}
    write_log.purged((BEN, Kind.ALBUMS), 600.0)
    assert len(write_log) == 1


def test_records_are_bounded(write_log):
    for number in range(MAX_USER_KINDS + 10):
        write_log.purged((number.to_bytes(16), Kind.ALBUMS), 0.0)
    assert len(write_log) == MAX_USER_KINDS


def test_a_user_who_only_writes_takes_no_more_memory_than_the_writes_that_still_count(write_log):
    def write(first: int, count: int) -> None:
        for number in range(first, first + count):
            now = number / 100
            stamp = write_log.begin((ADA, Kind.STATIONS), Id(str(number)), now, WRITE_SECONDS)
            write_log.end((ADA, Kind.STATIONS), Id(str(number)), stamp, 1, now)

    write(0, 5_000)  # five times what is held at once
    tracemalloc.start()
    try:
        write(5_000, 20_000)
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 1_000_000
