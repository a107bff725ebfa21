"""`python -m tests.bench`: measure, print, write the report, and fail where a bound is broken."""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

import msgspec

from tests.bench import charts, guard, plan, report
from tests.bench.machine import ROOT
from tests.bench.results import Results

DOCS = ROOT / "docs"
PAGE = "performance.md"
PROFILE_SECONDS = 8
REALTIME_PRIORITY = 5
BEGAN = time.monotonic()


def main() -> int:
    """0 where every bound held, else 1."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    if arguments.realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(REALTIME_PRIORITY))
    if arguments.profile:
        sys.stdout.write(plan.run_profile(PROFILE_SECONDS, _tell))
        return 0
    results = _measured(arguments)
    judged = guard.verdicts(results)
    if arguments.full and not arguments.only:
        _write(results, DOCS, DOCS / "images", "images")
    else:
        _write(results, arguments.out, arguments.out, ".")
    sys.stdout.write(report.render(results, "."))
    broken = [verdict for verdict in judged if not verdict.holds]
    for verdict in broken:
        sys.stderr.write(f"BROKEN: {verdict.what}: {verdict.value:.2f}, {verdict.side} {verdict.limit:.2f}\n")
    return 1 if broken else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--quick", action="store_true", help="a minute and a half, the report beside the results (default)"
    )
    length.add_argument("--full", action="store_true", help="some six minutes, the report into docs/")
    length.add_argument("--profile", action="store_true", help="where the time goes, by py-spy; no bounds")
    parser.add_argument("--only", choices=plan.PARTS, action="append", help="measure this part (repeatable)")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench", help="where results go")
    parser.add_argument(
        "--realtime",
        action="store_true",
        help="before all other processes; needs root, for machines that others use at the same time",
    )
    return parser.parse_args()


def _measured(arguments: argparse.Namespace) -> Results:
    chosen = plan.FULL if arguments.full else plan.QUICK
    results = plan.run(chosen, frozenset(arguments.only or plan.PARTS), _tell)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "results.json").write_bytes(msgspec.json.format(msgspec.json.encode(results)))
    return results


def _tell(line: str) -> None:
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
