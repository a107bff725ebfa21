"""`python -m tests.bench`: measure, print the report, and fail where a bound is broken."""

import argparse
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from tests.bench import beside, charts, contenders, hits, machine, memory, replaying, report, startup
from tests.bench.contenders import Checkout
from tests.bench.machine import ROOT, Machine
from tests.bench.results import Figure, Results, Trace
from tests.bench.stage import NOW, Stage

PAGE = "performance.md"
HITS = ("memory", "redis", "first-read", "others")
REPLAYED = ("trace", "routing")
PARTS = ("startup", *HITS, *REPLAYED, "beside", "bytes")
OPTIONAL = {"routing"}
"""Measured with `--full`, or if named."""

BEGAN = time.monotonic()


def main() -> int:
    """0 if every bound held, else 1."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    everything = set(PARTS) if arguments.full else set(PARTS) - OPTIONAL
    results = _measured(arguments, frozenset(arguments.only or everything))
    if arguments.docs:
        _write(results, ROOT / "docs", ROOT / "docs" / "images", "images")
    _write(results, arguments.out, arguments.out, ".")
    (arguments.out / "results.json").write_bytes(msgspec.json.format(msgspec.json.encode(results)))
    sys.stdout.write(report.render(results, "."))
    broken = [figure for figure in results.figures if figure.broken]
    for figure in broken:
        sys.stderr.write(f"BROKEN: {figure.part}: {figure.what}: {figure.now.median:.2f}\n")
    return 1 if broken else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true", help="about four minutes (default)")
    length.add_argument("--full", action="store_true", help="twice the rounds, and a trace of four minutes")
    parser.add_argument("--only", choices=PARTS, action="append", help="measure this part (repeatable)")
    parser.add_argument(
        "--against",
        metavar="REVISION",
        help="a git revision, or a directory with a checkout, to measure in the same rounds",
    )
    parser.add_argument("--docs", action="store_true", help="write the report and its pictures into docs/")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench", help="where results go")
    return parser.parse_args()


def _measured(arguments: argparse.Namespace, parts: frozenset[str]) -> Results:
    figures: list[Figure] = []
    trace: Trace | None = None
    with ExitStack() as stack:
        checkouts = [Checkout(NOW)]
        if arguments.against:
            checkouts.append(stack.enter_context(_checkout(arguments.against)))
        measured_hits, measured_replays = parts & {*HITS}, parts & {*REPLAYED}
        if "startup" in parts:
            with _stage(checkouts, full=arguments.full) as stage:
                figures += startup.measure(stage)
        if measured_hits:
            with _stage(checkouts, full=arguments.full) as stage:
                figures += hits.measure(stage, measured_hits)
        if measured_replays:
            with _stage(checkouts, full=arguments.full) as stage:
                trace, replayed = replaying.measure(stage, measured_replays)
                figures += replayed
        if "beside" in parts:
            with _stage(checkouts, full=arguments.full) as stage:
                figures += beside.measure(stage)
        if "bytes" in parts:
            with _stage(checkouts, full=arguments.full) as stage:
                figures += memory.measure(stage)
    return Results(
        measured=_measured_on(),
        against=arguments.against,
        missing=contenders.missing(),
        figures=figures,
        trace=trace,
    )


@contextmanager
def _stage(checkouts: list[Checkout], *, full: bool) -> Iterator[Stage]:
    """Processes of their own for each part, none of which outlives it."""
    with TemporaryDirectory(prefix="ratings-bench-") as name, Machine(Path(name)) as children:
        yield Stage(children, checkouts, full, _progress)


@contextmanager
def _checkout(revision: str) -> Iterator[Checkout]:
    """The sources to compare with; a revision is checked out into a temporary directory."""
    if Path(revision).is_dir():
        yield Checkout(revision, Path(revision).resolve())
        return
    with TemporaryDirectory(prefix="ratings-bench-") as name:
        directory = Path(name) / "checkout"
        archive = subprocess.Popen(
            ["git", "archive", "--prefix=checkout/", revision, "gateway"], cwd=ROOT, stdout=subprocess.PIPE
        )
        subprocess.run(["tar", "-x", "-C", name], stdin=archive.stdout, check=True)
        if archive.wait():
            raise SystemExit(f"{revision!r} is neither a directory nor a git revision")
        yield Checkout(revision, directory)


def _measured_on() -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in ("aiohttp", "uvloop", "redis", "hiredis"))
    return (
        f"Measured on {time.strftime('%Y-%m-%d')} on {machine.description()}, "
        f"Python {platform.python_version()}, {versions}. "
        "Medians of interleaved rounds, least and greatest in brackets."
    )


def _progress(line: str) -> None:
    sys.stderr.write(f"{time.monotonic() - BEGAN:6.1f} s  {line}\n")


def _write(results: Results, directory: Path, pictures: Path, images: str) -> None:
    pictures.mkdir(parents=True, exist_ok=True)
    for name, picture in charts.pictures(results).items():
        (pictures / name).write_text(picture)
    page = directory / PAGE
    written = page.read_text() if page.exists() else f"# Performance\n\n{report.BEGIN}\n{report.END}\n"
    page.write_text(report.replace_measured(written, report.render(results, images)))


if __name__ == "__main__":
    sys.exit(main())
