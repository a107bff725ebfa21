from gateway.cache.redis.retry_queue import MAX_DELIVERED, RetryQueue, Undelivered
from gateway.model import Id, Kind

HERE = (b"user", Kind.ALBUMS)
THERE = (b"other", Kind.SONGS)
ONE, TWO, THREE = Id("1"), Id("2"), Id("3")


def test_a_write_is_kept_once_and_its_ends_are_counted() -> None:
    backlog = RetryQueue()
    for ended in (0, 1, 1):
        assert backlog.add(HERE, ONE, ended=ended)
    assert backlog.entries() == [(HERE, Undelivered({ONE: 2}))]


def test_what_was_told_is_gone() -> None:
    backlog = RetryQueue()
    backlog.add(HERE, ONE)
    ((place, entry),) = backlog.entries()
    backlog.delivered(place, entry, b"7")
    assert not backlog
    assert backlog.get(HERE) is None


def test_what_came_while_it_was_being_told_stays() -> None:
    backlog = RetryQueue()
    backlog.add(HERE, ONE)
    ((place, entry),) = backlog.entries()
    backlog.add(HERE, TWO)
    backlog.delivered(place, entry, b"7")
    assert backlog.get(HERE) == Undelivered({ONE: 0, TWO: 0})


def test_a_later_write_that_was_told_speaks_for_the_earlier() -> None:
    backlog = RetryQueue()
    backlog.add(HERE, ONE)
    backlog.add(HERE, TWO)
    backlog.drop(HERE, ONE)
    backlog.drop(HERE, THREE)
    backlog.drop(THERE, ONE)
    assert backlog.get(HERE) == Undelivered({TWO: 0})


def test_too_many_ids_become_their_whole_place() -> None:
    backlog = RetryQueue(max_ids=2)
    backlog.add(HERE, ONE)
    backlog.add(HERE, TWO)
    assert backlog.add(HERE, THREE)
    assert backlog.get(HERE) == Undelivered(all=True)
    assert backlog.add(HERE, ONE)
    assert backlog.get(HERE) == Undelivered(all=True)
    assert backlog.add(THERE, ONE)
    assert backlog.get(THERE) == Undelivered({ONE: 0})


def test_too_many_places_are_lost_and_say_so() -> None:
    backlog = RetryQueue(max_partitions=1)
    assert backlog.add(HERE, ONE)
    assert not backlog.add(THERE, ONE)
    assert not backlog.add_all(THERE)
    assert backlog.add(HERE, TWO)


def test_what_cannot_be_told_now_lets_others_go_first() -> None:
    backlog = RetryQueue()
    backlog.add(HERE, ONE)
    backlog.add(THERE, ONE)
    backlog.postpone(HERE)
    backlog.postpone((b"nobody", Kind.SONGS))
    assert [place for place, _ in backlog.entries()] == [THERE, HERE]


def test_the_end_of_a_lone_write_gets_the_stamp_under_which_redis_heard_of_it() -> None:
    backlog = RetryQueue()
    backlog.begin_undelivered(HERE, ONE)
    backlog.add(HERE, ONE)
    ((place, entry),) = backlog.entries()
    backlog.delivered(place, entry, b"7")
    assert backlog.late_stamp(HERE, ONE) == b"7"
    assert backlog.late_stamp(HERE, ONE) is None


def test_writes_that_overlapped_untold_get_none() -> None:
    backlog = RetryQueue()
    for _ in range(2):
        backlog.begin_undelivered(HERE, ONE)
        backlog.add(HERE, ONE)
    ((place, entry),) = backlog.entries()
    backlog.delivered(place, entry, b"7")
    assert backlog.late_stamp(HERE, ONE) is None
    assert backlog.late_stamp(HERE, ONE) is None


def test_a_write_that_was_told_does_not_speak_for_the_end_of_another() -> None:
    backlog = RetryQueue()
    backlog.add(HERE, ONE, ended=1)
    backlog.drop(HERE, ONE)
    assert backlog.get(HERE) == Undelivered({ONE: 1})


def test_a_mark_that_was_told_late_from_here_is_known_until_somebody_writes_again() -> None:
    backlog = RetryQueue()
    backlog.add(HERE, ONE)
    ((place, entry),) = backlog.entries()
    backlog.delivered(place, entry, b"7")
    assert backlog.delivered_late(HERE, {ONE: b"7", TWO: b"7"}) == {ONE}
    assert not backlog.delivered_late(HERE, {ONE: b"8"})
    assert not backlog.delivered_late(THERE, {ONE: b"7"})


def test_late_marks_are_bounded() -> None:
    backlog = RetryQueue()
    for number in range(MAX_DELIVERED + 1):
        backlog.add(HERE, Id(str(number)))
        ((place, entry),) = backlog.entries()
        backlog.delivered(place, entry, b"7")
    assert not backlog.delivered_late(HERE, {Id("0"): b"7"})
    assert backlog.delivered_late(HERE, {Id("1"): b"7"})
