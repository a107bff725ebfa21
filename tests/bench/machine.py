"""Processes of a run: started on the core that is theirs, watched through /proc, stopped by their ids."""

import contextlib
import os
import platform
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Self

from tests.bench import accounting

ROOT = Path(__file__).resolve().parents[2]
STOP_SECONDS = 5.0


class Cores(NamedTuple):
    """Which cores the server under test has for itself, and where everything else runs."""

    server: frozenset[int]
    others: frozenset[int]

    @property
    def apart(self) -> bool:
        """False on a machine with one core: ratios are then of little worth."""
        return not self.server & self.others


def split(available: Iterable[int]) -> Cores:
    """The last core for the server under test, all others for load, upstream and Redis."""
    ordered = sorted(available)
    server = frozenset(ordered[-1:])
    return Cores(server, frozenset(ordered[:-1]) or server)


class Process:
    """A child, and what the kernel says that it and its children used."""

    def __init__(self, child: "subprocess.Popen[bytes]", complaints: Path) -> None:
        self.child = child
        self.pid = child.pid
        self._complaints = complaints

    def complaints(self) -> str:
        """The last of what it wrote to stderr."""
        return self._complaints.read_text(errors="replace")[-2_000:]

    def cpu_seconds(self) -> float:
        return sum(accounting.cpu_seconds(pid) for pid in accounting.family(self.pid))

    def rss_bytes(self) -> int:
        return sum(accounting.rss_bytes(pid) for pid in accounting.family(self.pid))

    @property
    def ended(self) -> bool:
        return self.child.poll() is not None

    def stop(self) -> None:
        if self.ended:
            return
        self.child.terminate()
        try:
            self.child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


class Machine:
    """Starts children on their cores; leaving it stops them, the last one first."""

    def __init__(self, directory: Path) -> None:
        self.cores = split(os.sched_getaffinity(0))
        self.directory = directory
        self._started: list[Process] = []

    def __enter__(self) -> Self:
        self._before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, self.cores.others)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self._started):
            process.stop()
        os.sched_setaffinity(0, self._before)

    def start(
        self,
        command: Sequence[str],
        *,
        tested: bool = False,
        directory: Path = ROOT,
        environment: Mapping[str, str] | None = None,
        out: int | IO[bytes] = subprocess.DEVNULL,
    ) -> Process:
        """Start a child; `tested` puts it, from its first instruction on, on the core of the server."""
        complaints = self.directory / f"complaints-{len(list(self.directory.iterdir()))}"
        core = self.cores.server if tested else self.cores.others
        with self._on(core), complaints.open("wb") as err:
            child = subprocess.Popen(
                command,
                cwd=directory,
                env=self.environment(environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        process = Process(child, complaints)
        self._started.append(process)
        return process

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """Ours without what would change a gateway's settings; bytecode is kept, away from the sources."""
        ignored = ("GATEWAY_", "PYTHONDONTWRITEBYTECODE", "PYTHONPROFILEIMPORTTIME")
        ours = {name: value for name, value in os.environ.items() if not name.startswith(ignored)}
        return {**ours, "PYTHONPYCACHEPREFIX": str(self.directory / "bytecode"), **more}

    @contextlib.contextmanager
    def _on(self, cores: frozenset[int]) -> Iterator[None]:
        os.sched_setaffinity(0, cores)
        try:
            yield
        finally:
            os.sched_setaffinity(0, self.cores.others)


def await_listening(process: Process, port: int, *, seconds: float = 20.0) -> None:
    """Wait until `port` takes connections. Raises `RuntimeError` where the process ends or takes too long."""
    give_up = time.monotonic() + seconds
    while True:
        with contextlib.closing(socket.socket()) as probe:
            probe.settimeout(1.0)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.ended or time.monotonic() > give_up:
            raise RuntimeError(
                f"{process.child.args!r} does not listen on port {port}: {process.complaints()}"
            )
        time.sleep(0.005)


def description() -> str:
    """What this machine is, in a line."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return f"{os.cpu_count()} cores of {cpu}"
