import asyncio

import pytest

from gateway.model import Kind
from gateway.sandbox.journal import Journal, RecordedCall


@pytest.fixture
def journal(clock) -> Journal:
    return Journal(clock, max_calls=3, max_ids=10)


def begin(
    journal: Journal,
    *ids: str,
    method: str = "GET",
    user: str = "ada",
    kind: Kind = Kind.SONGS,
    query: str = "",
) -> RecordedCall:
    return journal.begin(method=method, path="/", kind=kind, user=user, ids=ids, many=True, query=query)


def test_a_running_call_is_listed_without_an_end(journal, clock):
    clock.now = 7.0
    call = begin(journal, "1")
    assert list(journal) == [call]
    assert (call.number, call.started, call.ended, call.status) == (1, 7.0, None, None)


def test_an_ended_call_has_a_status_and_an_end(journal, clock):
    call = begin(journal, "1")
    clock.now = 2.0
    journal.end(call, 200)
    assert (call.ended, call.status, journal.in_flight) == (2.0, 200, 0)


def test_the_highest_number_of_calls_in_flight_is_kept(journal):
    first, second = begin(journal, "1"), begin(journal, "2")
    journal.end(first, 200)
    journal.end(second, 200)
    begin(journal, "3")
    assert journal.max_in_flight == 2


def test_an_id_read_by_two_calls_at_once_is_a_double(journal):
    begin(journal, "1", "2")
    begin(journal, "2", "3")
    assert [(double.id, double.calls) for double in journal.doubles] == [("2", (1, 2))]


def test_an_id_read_by_successive_calls_is_not_a_double(journal):
    journal.end(begin(journal, "1"), 200)
    begin(journal, "1")
    assert not journal.doubles


def test_an_id_that_a_third_call_still_reads_is_a_double_after_the_first_ended(journal):
    first = begin(journal, "1")
    begin(journal, "1")
    journal.end(first, 200)
    begin(journal, "1")
    assert [double.calls for double in journal.doubles] == [(1, 2), (2, 3)]


@pytest.mark.parametrize(
    "other", [{"user": "ben"}, {"kind": Kind.ALBUMS}, {"query": "l=de"}, {"method": "PUT"}], ids=str
)
def test_calls_of_another_user_type_variant_or_method_are_no_doubles(journal, other):
    begin(journal, "1")
    begin(journal, "1", **other)
    assert not journal.doubles


def test_the_oldest_calls_are_dropped_first(journal):
    for n in range(5):
        journal.end(begin(journal, str(n)), 200)
    assert [call.ids for call in journal] == [("2",), ("3",), ("4",)]
    assert (journal.total, len(journal), journal.last.number) == (5, 3, 5)


def test_a_call_with_many_ids_drops_several(journal):
    begin(journal, "1")
    begin(journal, *map(str, range(10)))
    assert [call.number for call in journal] == [2]


def test_the_latest_call_is_kept_regardless_of_size(journal):
    begin(journal, *map(str, range(100)))
    assert len(journal) == 1


async def test_waiting_ends_with_the_last_call_waited_for(journal):
    waiting = asyncio.ensure_future(journal.until_ended(2))
    journal.end(begin(journal, "1"), 200)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    journal.end(begin(journal, "2"), 200)
    await waiting


def test_a_cleared_journal_counts_from_zero(journal):
    journal.end(begin(journal, "1"), 200)
    running = begin(journal, "1")
    journal.end(begin(journal, "1"), 200)
    journal.clear()
    journal.end(running, 200)
    assert (journal.total, journal.ended, len(journal), len(journal.doubles)) == (0, 0, 0, 0)


def test_running_calls_stay_in_flight_when_the_journal_is_cleared(journal):
    begin(journal, "1")
    journal.clear()
    assert (journal.in_flight, journal.max_in_flight) == (1, 1)
