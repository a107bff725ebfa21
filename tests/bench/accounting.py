"""What the kernel says a process used: CPU time and resident memory, from /proc (Linux)."""

import os
from collections.abc import Iterable
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads that live, user and kernel; to the nanosecond where the kernel keeps it so."""
    threads = [_read(task / "schedstat") for task in _tasks(pid)]
    precise = sum(nanoseconds_run(text) for text in threads)
    return precise / 1e9 if precise else ticks_run(_read(PROC / str(pid) / "stat")) / TICKS_PER_SECOND


def rss_bytes(pid: int) -> int:
    """Resident memory; 0 for a process that is gone."""
    return resident(_read(PROC / str(pid) / "status"))


def family(pid: int) -> list[int]:
    """`pid` and all that descend from it: nginx and Varnish work in children."""
    parents = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (text := _read(entry / "stat")):
            parents[int(entry.name)] = parent(text)
    return descendants(pid, parents.items())


def descendants(pid: int, parents: Iterable[tuple[int, int]]) -> list[int]:
    """`pid` and its descendants, given pairs of process and parent."""
    pairs = list(parents)
    found = [pid]
    for ancestor in found:
        found.extend(child for child, its_parent in pairs if its_parent == ancestor)
    return found


def nanoseconds_run(schedstat: str) -> int:
    """The first field of `/proc/PID/schedstat`; 0 where there is none."""
    fields = schedstat.split()
    return int(fields[0]) if fields else 0


def ticks_run(stat: str) -> int:
    """`utime` and `stime` of `/proc/PID/stat`; a process' name may hold blanks and brackets."""
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12]) if fields else 0


def parent(stat: str) -> int:
    """The parent's id in `/proc/PID/stat`."""
    return int(stat.rpartition(")")[2].split()[1])


def resident(status: str) -> int:
    """`VmRSS` of `/proc/PID/status`, in bytes; 0 where there is none."""
    for line in status.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def _tasks(pid: int) -> list[Path]:
    try:
        return list((PROC / str(pid) / "task").iterdir())
    except OSError:
        return []


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
