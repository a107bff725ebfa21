import pytest

from gateway.cache.redis.retry_queue import (
    MAX_REPLAYED,
    MAX_UNCONFIRMED,
    RetryQueue,
    Undelivered,
)
from gateway.cache.write_rule import PendingWrite
from gateway.model import Id, Kind

HERE = (b"user", Kind.ALBUMS)
THERE = (b"other", Kind.SONGS)
ONE, TWO, THREE = Id("1"), Id("2"), Id("3")


def marker(stamp: int, *, writers: int = 0, contested: bool = False) -> PendingWrite:
    return PendingWrite(stamp, writers, contested, until=10.0)


def test_a_write_is_kept_once_and_its_ends_are_counted() -> None:
    queue = RetryQueue()
    for ended in (0, 1, 1):
        assert queue.add(HERE, ONE, ended=ended)
    assert queue.entries() == [(HERE, Undelivered({ONE: 2}))]


def test_what_was_delivered_is_removed() -> None:
    queue = RetryQueue()
    queue.add(HERE, ONE)
    ((place, entry),) = queue.entries()
    queue.replayed(place, entry, b"7")
    assert not queue
    assert queue.get(HERE) is None


def test_what_was_added_during_a_delivery_stays() -> None:
    queue = RetryQueue()
    queue.add(HERE, ONE)
    ((place, entry),) = queue.entries()
    queue.add(HERE, TWO)
    queue.replayed(place, entry, b"7")
    assert queue.get(HERE) == Undelivered({ONE: 0, TWO: 0})


def test_a_later_write_that_was_delivered_replaces_the_earlier() -> None:
    queue = RetryQueue()
    queue.add(HERE, ONE)
    queue.add(HERE, TWO)
    queue.drop(HERE, ONE)
    queue.drop(HERE, THREE)
    queue.drop(THERE, ONE)
    assert queue.get(HERE) == Undelivered({TWO: 0})


def test_too_many_ids_become_everything_of_their_user_and_type() -> None:
    queue = RetryQueue(max_ids=2)
    queue.add(HERE, ONE)
    queue.add(HERE, TWO)
    assert queue.add(HERE, THREE)
    assert queue.get(HERE) == Undelivered(all=True)
    assert queue.add(HERE, ONE)
    assert queue.get(HERE) == Undelivered(all=True)
    assert queue.add(THERE, ONE)
    assert queue.get(THERE) == Undelivered({ONE: 0})


def test_too_many_users_and_types_are_refused() -> None:
    queue = RetryQueue(max_user_kinds=1)
    assert queue.add(HERE, ONE)
    assert not queue.add(THERE, ONE)
    assert not queue.add_purge(THERE, None)
    assert queue.add(HERE, TWO)


def test_purges_are_kept_apart_from_writes() -> None:
    queue = RetryQueue()
    queue.add(HERE, ONE, ended=1)
    queue.add_purge(HERE, [ONE, TWO])
    queue.add_purge(HERE, [THREE])
    queue.add(HERE, ONE)
    assert queue.get(HERE) == Undelivered({ONE: 1}, purged=frozenset([ONE, TWO, THREE]))
    queue.add_purge(HERE, None)
    queue.add_purge(HERE, [ONE])
    assert queue.get(HERE) == Undelivered({ONE: 1}, purged=None)


def test_a_later_write_that_was_delivered_replaces_no_purge() -> None:
    queue = RetryQueue()
    queue.add(HERE, ONE)
    queue.add_purge(HERE, [ONE])
    queue.drop(HERE, ONE)
    assert queue.get(HERE) == Undelivered(purged=frozenset([ONE]))


def test_a_purge_of_too_many_ids_becomes_one_of_their_user_and_type() -> None:
    queue = RetryQueue(max_ids=2)
    queue.add_purge(HERE, [ONE])
    queue.add_purge(HERE, [TWO, THREE])
    assert queue.get(HERE) == Undelivered(purged=None)
    queue.add_purge(THERE, [ONE, TWO])
    assert queue.get(THERE) == Undelivered(purged=frozenset([ONE, TWO]))
    assert queue.add((b"third", Kind.SONGS), ONE)
    assert queue.get((b"third", Kind.SONGS)) == Undelivered(all=True)


def test_a_purge_during_a_delivery_is_delivered_after_it() -> None:
    queue = RetryQueue(max_ids=0)
    queue.add(HERE, ONE)
    ((place, entry),) = queue.entries()
    queue.add_purge(HERE, None)
    queue.replayed(place, entry, b"7")
    assert queue.get(HERE) == Undelivered(all=True, purged=None)


def test_a_delivered_purge_stamps_no_id() -> None:
    queue = RetryQueue()
    queue.begin_missed(HERE, ONE)
    queue.add_purge(HERE, [ONE])
    ((place, entry),) = queue.entries()
    queue.replayed(place, entry, None)
    assert not queue
    assert queue.take_replay_stamp(HERE, ONE) is None


@pytest.mark.parametrize(
    ("undelivered", "distrusted"),
    [
        (Undelivered({ONE: 0}), {ONE}),
        (Undelivered({ONE: 0}, purged=frozenset([TWO])), {ONE, TWO}),
        (Undelivered(purged=None), {ONE, TWO, THREE}),
        (Undelivered(all=True), {ONE, TWO, THREE}),
    ],
)
def test_what_was_written_or_purged_is_not_trusted(undelivered: Undelivered, distrusted: set[Id]) -> None:
    assert undelivered.among([ONE, TWO, THREE]) == distrusted
    assert undelivered.whole == (len(distrusted) == 3)


def test_what_cannot_be_delivered_now_moves_to_the_end() -> None:
    queue = RetryQueue()
    queue.add(HERE, ONE)
    queue.add(THERE, ONE)
    queue.postpone(HERE)
    queue.postpone((b"nobody", Kind.SONGS))
    assert [place for place, _ in queue.entries()] == [THERE, HERE]


def test_the_end_of_a_single_write_gets_the_stamp_of_its_replay() -> None:
    queue = RetryQueue()
    queue.begin_missed(HERE, ONE)
    queue.add(HERE, ONE)
    ((place, entry),) = queue.entries()
    queue.replayed(place, entry, b"7")
    assert queue.take_replay_stamp(HERE, ONE) == b"7"
    assert queue.take_replay_stamp(HERE, ONE) is None


def test_undelivered_writes_that_overlapped_get_no_stamp() -> None:
    queue = RetryQueue()
    for _ in range(2):
        queue.begin_missed(HERE, ONE)
        queue.add(HERE, ONE)
    ((place, entry),) = queue.entries()
    queue.replayed(place, entry, b"7")
    assert queue.take_replay_stamp(HERE, ONE) is None
    assert queue.take_replay_stamp(HERE, ONE) is None


def test_a_delivered_write_gives_no_stamp_to_the_end_of_another() -> None:
    queue = RetryQueue()
    queue.add(HERE, ONE, ended=1)
    queue.drop(HERE, ONE)
    assert queue.get(HERE) == Undelivered({ONE: 1})


def test_a_marker_from_our_own_replay_is_recognised_until_the_next_write() -> None:
    queue = RetryQueue()
    queue.add(HERE, ONE)
    ((place, entry),) = queue.entries()
    queue.replayed(place, entry, b"7")
    assert queue.own_replays(HERE, {ONE: b"7", TWO: b"7"}) == {ONE}
    assert not queue.own_replays(HERE, {ONE: b"8"})
    assert not queue.own_replays(THERE, {ONE: b"7"})


def test_remembered_replays_are_bounded() -> None:
    queue = RetryQueue()
    for number in range(MAX_REPLAYED + 1):
        queue.add(HERE, Id(str(number)))
        ((place, entry),) = queue.entries()
        queue.replayed(place, entry, b"7")
    assert not queue.own_replays(HERE, {Id("0"): b"7"})
    assert queue.own_replays(HERE, {Id("1"): b"7"})


def test_ids_of_failed_requests_are_bounded_also_if_the_queue_is_full() -> None:
    queue = RetryQueue(max_user_kinds=0)
    for number in range(MAX_UNCONFIRMED + 1):
        queue.note_unconfirmed(HERE, [Id(str(number))])
        assert not queue.add(HERE, Id(str(number)), ended=1)
    assert not queue.may_have_marked(HERE, Id("0"), marker(7))
    assert queue.may_have_marked(HERE, Id("1"), marker(7))


def test_a_marker_of_an_own_write_is_recognised_but_is_no_replay() -> None:
    queue = RetryQueue()
    queue.note_own_stamp(HERE, ONE, b"7")
    assert queue.may_have_marked(HERE, ONE, marker(7))
    assert not queue.may_have_marked(HERE, ONE, marker(8))
    assert not queue.own_replays(HERE, {ONE: b"7"})
    queue.note_own_stamp(HERE, ONE, b"8")
    assert not queue.may_have_marked(HERE, ONE, marker(7))


def test_a_begin_that_was_not_acknowledged_may_have_left_a_single_writer() -> None:
    queue = RetryQueue()
    queue.note_unconfirmed_begin(HERE, ONE)
    assert queue.may_have_marked(HERE, ONE, marker(7, writers=1))
    assert not queue.may_have_marked(HERE, ONE, marker(7))
    assert not queue.may_have_marked(HERE, ONE, marker(7, writers=1, contested=True))


@pytest.mark.parametrize("everything", [True, False])
def test_a_replay_settles_requests_that_were_not_acknowledged(everything: bool) -> None:
    queue = RetryQueue(max_ids=0 if everything else 1)
    queue.note_unconfirmed_begin(HERE, ONE)
    queue.note_unconfirmed(HERE, [ONE])
    queue.add(HERE, ONE)
    ((place, entry),) = queue.entries()
    queue.replayed(place, entry, b"7")
    assert not queue.may_have_marked(HERE, ONE, marker(8, writers=1))
