"""Where the time of each of the gateway's paths goes: py-spy looks on from outside while it is under load.

py-spy is nobody's dependency: `pip install py-spy` where a profile is wanted.
"""

import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from tests.bench.machine import Machine, Process
from tests.bench.roads import LOCAL, MISS, REDIS, Road, Roads
from tests.bench.upstream import Upstream

SAMPLES_PER_SECOND = 500
MARGIN_SECONDS = 1
TOP = 40
THREAD = "Thread._bootstrap (threading.py)"


class Share(msgspec.Struct, frozen=True):
    """A function's share of all samples: with what it called, and alone."""

    function: str
    total: float
    alone: float


def profile(
    machine: Machine, upstream: Upstream, *, seconds: int, tell: Callable[[str], None]
) -> dict[str, list[Share]]:
    """Profile the gateway's paths. Raises `FileNotFoundError` where py-spy is not installed."""
    beside_python = str(Path(sys.executable).parent)
    program = shutil.which("py-spy", path=os.pathsep.join([beside_python, os.defpath]))
    if program is None:
        raise FileNotFoundError("py-spy is not installed")
    built = Roads.build(machine, upstream)
    found = {}
    for road in built.roads:
        if road.name in (LOCAL, REDIS, MISS):
            tell(f"profile: {road.name}")
            found[road.name] = _profiled(program, built, road, seconds, machine.directory / "samples")
    return found


def _profiled(program: str, built: Roads, road: Road, seconds: int, file: Path) -> list[Share]:
    built.prepare(road)
    loading = threading.Thread(target=built.load, args=(road, seconds + 2 * MARGIN_SECONDS))
    loading.start()
    threading.Event().wait(MARGIN_SECONDS)
    _record(program, road.contender.process, seconds, file)
    loading.join()
    return shares(file.read_text().splitlines())


def _record(program: str, process: Process, seconds: int, file: Path) -> None:
    subprocess.run(
        [
            program, "record", "--pid", str(process.pid), "--duration", str(seconds),
            "--rate", str(SAMPLES_PER_SECOND), "--format", "raw", "--output", str(file),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip


def shares(samples: Iterable[str]) -> list[Share]:
    """Collapsed stacks (`outer (file:1);inner (file:2) 17`) as shares, the greatest first, without lines.

    Only the main thread counts: the others wait for a key file to change.
    """
    total: Counter[str] = Counter()
    alone: Counter[str] = Counter()
    for line in samples:
        stack, _, count = line.rpartition(" ")
        functions = [_function(frame) for frame in stack.split(";")]
        if functions[0] == THREAD:
            continue
        alone[functions[-1]] += int(count)
        for function in dict.fromkeys(functions):
            total[function] += int(count)
    everything = alone.total()
    return [
        Share(function, count / everything, alone[function] / everything)
        for function, count in total.most_common()
    ]


def render(found: dict[str, list[Share]]) -> str:
    """The greatest shares as text, without what only surrounds everything."""
    lines = []
    for name, measured in found.items():
        lines += [f"{name}: share with what it calls, alone, function"]
        inner = [share for share in measured if share.total < 1 or share.alone]
        lines += [f"{share.total:7.1%} {share.alone:7.1%}  {share.function}" for share in inner[:TOP]]
        lines += [""]
    return "\n".join(lines)


def _function(frame: str) -> str:
    """A frame without its line number."""
    place, colon, line = frame.rpartition(":")
    return f"{place})" if colon and line.rstrip(")").isdigit() else frame
