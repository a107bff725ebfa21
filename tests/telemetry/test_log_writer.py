"""The thread that writes log lines: callers never block, and excess lines are dropped."""

import errno
import os
import threading

import pytest

from gateway.telemetry.log_writer import MAX_BYTES, RESERVE_BYTES, LogWriter

LINE = b"x" * 1023 + b"\n"


class Pipe:
    """A file that blocks every write until it is opened."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        self.written = b""

    def write(self, data: bytes) -> int:
        self.reached.set()
        self.opened.wait()
        self.written += data
        return len(data)


@pytest.fixture
def pipe():
    pipe = Pipe()
    yield pipe
    pipe.opened.set()


def test_lines_are_written_in_order(pipe):
    writer = LogWriter(pipe.write)
    pipe.opened.set()
    for n in range(100):
        writer.write(b"%d\n" % n)
    writer.close()
    assert pipe.written == b"".join(b"%d\n" % n for n in range(100))


def test_a_blocked_pipe_blocks_no_caller_and_excess_lines_are_dropped_and_counted(pipe):
    writer = LogWriter(pipe.write)
    drops: list[int] = []
    writer.count_drops(drops.append)
    for _ in range(MAX_BYTES // len(LINE) + 10):
        writer.write(LINE)
    assert sum(drops) == 10
    assert not writer.offer(LINE)
    pipe.opened.set()
    writer.close()
    assert pipe.written == LINE * (MAX_BYTES // len(LINE))


def test_errors_are_dropped_last(pipe):
    writer = LogWriter(pipe.write)
    drops: list[int] = []
    writer.count_drops(drops.append)
    while writer.offer(LINE):
        pass
    for _ in range(RESERVE_BYTES // len(LINE)):
        writer.write(LINE, urgent=True)
    assert drops == []
    writer.write(LINE, urgent=True)
    assert drops == [1]


def test_lines_dropped_before_counting_begins_are_counted(pipe):
    writer = LogWriter(pipe.write)
    while writer.offer(LINE):
        pass
    writer.write(LINE)
    drops: list[int] = []
    writer.count_drops(drops.append)
    assert drops == [1]


def test_closing_waits_at_most_the_given_time(pipe):
    writer = LogWriter(pipe.write)
    writer.write(LINE)
    pipe.reached.wait()
    writer.close(seconds=0.01)
    assert pipe.written == b""


def test_a_partial_write_is_continued():
    written = bytearray()

    def write(data: bytes) -> int:
        written.extend(data[:7])
        return len(data[:7])

    writer = LogWriter(write)
    writer.write(LINE)
    writer.close()
    assert written == LINE


def test_lines_that_a_closed_pipe_does_not_take_are_counted_and_stop_nothing():
    reader, end = os.pipe()
    os.close(reader)
    writer = LogWriter(lambda data: os.write(end, data))
    drops: list[int] = []
    writer.count_drops(drops.append)
    for _ in range(3):
        writer.write(LINE)
    writer.close()
    assert sum(drops) == 3
    assert writer.offer(LINE)
    os.close(end)


def test_of_a_chunk_that_is_written_in_part_only_the_rest_is_counted():
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    taken = [len(LINE) + 7, 0]

    def write(_: bytes) -> int:
        if not (count := taken.pop(0)):
            raise full
        return count

    writer = LogWriter(write)
    writer.offer(LINE * 3)
    writer.close()
    drops: list[int] = []
    writer.count_drops(drops.append)
    assert drops == [2]
