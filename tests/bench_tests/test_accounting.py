import os

from tests.bench import accounting

STAT = "42 (odd (name) x) S 7 42 42 0 -1 4194560 1 0 0 0 150 25 0 0 20 0 1 0 100 1 1"


def test_a_name_with_brackets_does_not_shift_the_fields():
    assert accounting.parent(STAT) == 7
    assert accounting.ticks_run(STAT) == 175


def test_a_process_that_is_gone_used_nothing():
    assert accounting.ticks_run("") == 0
    assert accounting.nanoseconds_run("") == 0
    assert accounting.resident("") == 0


def test_time_run_is_the_first_field_of_schedstat():
    assert accounting.nanoseconds_run("1448374167 523342 20\n") == 1_448_374_167


def test_resident_memory_is_in_bytes():
    assert accounting.resident("Name:\tx\nVmRSS:\t   76056 kB\nThreads:\t1\n") == 76056 * 1024


def test_descendants_are_found_through_every_generation():
    parents = [(2, 1), (3, 2), (4, 3), (5, 9), (6, 1)]
    assert sorted(accounting.descendants(1, parents)) == [1, 2, 3, 4, 6]


def test_this_process_has_used_time_and_memory():
    assert accounting.cpu_seconds(os.getpid()) > 0
    assert accounting.rss_bytes(os.getpid()) > 1_000_000
    assert os.getpid() in accounting.family(os.getppid())
