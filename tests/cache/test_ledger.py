import pytest

from gateway.cache import rule
from gateway.cache.ledger import MAX_RECORDS, WRITE_SECONDS, Ledger
from gateway.model import Id, Kind

ADA, BEN = b"a" * 16, b"b" * 16
ONE = Id("1")
LIKED = b'{"id":"1"}'


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(hold_seconds=10)


def test_a_fetch_that_began_before_a_write_is_not_kept(ledger):
    ticket = ledger.version
    stamp = ledger.begin(ADA, Kind.ALBUMS, ONE, 0.0)
    during = ledger.version
    ledger.end(ADA, Kind.ALBUMS, ONE, stamp, LIKED, 1.0)
    assert not ledger.admits(ticket, ADA, Kind.ALBUMS)
    assert not ledger.admits(during, ADA, Kind.ALBUMS)
    assert ledger.admits(ledger.version, ADA, Kind.ALBUMS)


def test_a_write_of_one_user_voids_no_fetch_of_another(ledger):
    ticket = ledger.version
    ledger.begin(ADA, Kind.ALBUMS, ONE, 0.0)
    assert ledger.admits(ticket, BEN, Kind.ALBUMS)
    assert ledger.admits(ticket, ADA, Kind.SONGS)


def test_a_write_voids_fetches_of_the_paired_kind(ledger):
    ticket = ledger.version
    ledger.begin(ADA, Kind.ALBUMS, ONE, 0.0)
    assert not ledger.admits(ticket, ADA, Kind.LIBRARY_ALBUMS)


def test_what_is_fetched_of_the_paired_kind_within_the_hold_is_capped(ledger):
    stamp = ledger.begin(ADA, Kind.ALBUMS, ONE, 0.0)
    assert ledger.cap_until(ADA, Kind.LIBRARY_ALBUMS, 1.0) == 10.0
    ledger.end(ADA, Kind.ALBUMS, ONE, stamp, LIKED, 5.0)
    assert ledger.cap_until(ADA, Kind.LIBRARY_ALBUMS, 14.9) == 15.0
    assert ledger.cap_until(ADA, Kind.LIBRARY_ALBUMS, 15.0) is None
    assert ledger.cap_until(ADA, Kind.ALBUMS, 6.0) is None


def test_a_refused_write_does_not_renew_the_cap_of_the_paired_kind(ledger):
    stamp = ledger.begin(ADA, Kind.ALBUMS, ONE, 0.0)
    ledger.end(ADA, Kind.ALBUMS, ONE, stamp, rule.UNCHANGED, 5.0)
    assert ledger.cap_until(ADA, Kind.LIBRARY_ALBUMS, 10.0) is None


def test_a_written_value_is_held_and_then_not(ledger):
    stamp = ledger.begin(ADA, Kind.ALBUMS, ONE, 0.0)
    assert isinstance(ledger.end(ADA, Kind.ALBUMS, ONE, stamp, LIKED, 1.0), rule.Rated)
    assert ledger.held(ADA, Kind.ALBUMS, 10.9)[ONE].resource == LIKED
    assert not ledger.held(ADA, Kind.ALBUMS, 11.0)


def test_a_write_under_way_is_marked(ledger):
    stamp = ledger.begin(ADA, Kind.ALBUMS, ONE, 0.0)
    assert ledger.marks(ADA, Kind.ALBUMS, 1.0) == {ONE: stamp}
    assert not ledger.marks(ADA, Kind.ALBUMS, WRITE_SECONDS)
    assert not ledger.marks(BEN, Kind.ALBUMS, 1.0)


def test_writes_that_overlap_hold_nothing(ledger):
    first = ledger.begin(ADA, Kind.ALBUMS, ONE, 0.0)
    second = ledger.begin(ADA, Kind.ALBUMS, ONE, 1.0)
    ledger.end(ADA, Kind.ALBUMS, ONE, second, LIKED, 2.0)
    ledger.end(ADA, Kind.ALBUMS, ONE, first, None, 3.0)
    assert not ledger.held(ADA, Kind.ALBUMS, 4.0)
    assert ONE in ledger.marks(ADA, Kind.ALBUMS, 4.0)


def test_a_write_that_another_gateway_overlapped_holds_nothing(ledger):
    stamp = ledger.begin(ADA, Kind.ALBUMS, ONE, 0.0)
    ledger.overwritten(ADA, Kind.ALBUMS, [ONE], 1.0)
    assert isinstance(ledger.end(ADA, Kind.ALBUMS, ONE, stamp, LIKED, 2.0), rule.Unsettled)
    assert not ledger.held(ADA, Kind.ALBUMS, 3.0)


def test_a_write_after_one_that_another_gateway_overlapped_is_alone(ledger):
    first = ledger.begin(ADA, Kind.ALBUMS, ONE, 0.0)
    for _ in range(3):
        ledger.overwritten(ADA, Kind.ALBUMS, [ONE], 1.0)
    ledger.end(ADA, Kind.ALBUMS, ONE, first, LIKED, 2.0)
    second = ledger.begin(ADA, Kind.ALBUMS, ONE, 3.0)
    ledger.end(ADA, Kind.ALBUMS, ONE, second, None, 4.0)
    assert ledger.held(ADA, Kind.ALBUMS, 5.0)[ONE].resource is None


def test_another_gateways_write_ends_a_hold(ledger):
    stamp = ledger.begin(ADA, Kind.ALBUMS, ONE, 0.0)
    ledger.end(ADA, Kind.ALBUMS, ONE, stamp, LIKED, 1.0)
    ticket = ledger.version
    ledger.overwritten(ADA, Kind.ALBUMS, [ONE, Id("2")], 2.0)
    assert not ledger.held(ADA, Kind.ALBUMS, 3.0)
    assert not ledger.admits(ticket, ADA, Kind.ALBUMS)


def test_a_purge_voids_fetches_and_leaves_the_hold(ledger):
    stamp = ledger.begin(ADA, Kind.ALBUMS, ONE, 0.0)
    ledger.end(ADA, Kind.ALBUMS, ONE, stamp, LIKED, 1.0)
    ticket = ledger.version
    ledger.purged(ADA, Kind.ALBUMS, 2.0)
    assert not ledger.admits(ticket, ADA, Kind.ALBUMS)
    assert ONE in ledger.held(ADA, Kind.ALBUMS, 3.0)


def test_a_pruned_record_still_voids_the_fetches_from_before_it(ledger):
    ticket = ledger.version
    ledger.purged(ADA, Kind.ALBUMS, 0.0)
    ledger.purged(BEN, Kind.ALBUMS, WRITE_SECONDS + 10)
    assert len(ledger) == 1
    assert not ledger.admits(ticket, ADA, Kind.ALBUMS)
    assert ledger.admits(ledger.version, ADA, Kind.ALBUMS)


def test_records_are_bounded(ledger):
    for number in range(MAX_RECORDS + 10):
        ledger.purged(number.to_bytes(16), Kind.ALBUMS, 0.0)
    assert len(ledger) == MAX_RECORDS
