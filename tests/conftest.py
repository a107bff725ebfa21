"""Markers for programs that tests need; with RATINGS_GATEWAY_NO_SKIPS=1 a skipped test fails.

RATINGS_GATEWAY_MAY_MISS lists programs, with commas, that may be missing even then.
"""

import os
import shutil
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

import pytest

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

NO_SKIPS = os.environ.get("RATINGS_GATEWAY_NO_SKIPS", "") not in ("", "0")
MAY_MISS = set(os.environ.get("RATINGS_GATEWAY_MAY_MISS", "").split(","))
MISSES_WHAT_IT_MAY = pytest.StashKey[bool]()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """`@pytest.mark.needs("nginx", …)`, and `redis_server` for short, skip where a program is missing."""
    programs = [program for mark in item.iter_markers("needs") for program in mark.args]
    if item.get_closest_marker("redis_server"):
        programs.append("redis-server")
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        item.stash[MISSES_WHAT_IT_MAY] = MAY_MISS.issuperset(missing)
        pytest.skip(f"not installed: {', '.join(missing)}")
    for mark in item.iter_markers("commit"):
        if not _has_commit(item.config.rootpath, *mark.args):
            item.stash[MISSES_WHAT_IT_MAY] = True
            pytest.skip(f"not in this clone: commit {mark.args[0]}")


def _has_commit(folder: Path, commit: str) -> bool:
    """Whether the Git repository in `folder` has `commit`; shallow clones and archives do not."""
    if shutil.which("git") is None:
        return False
    found = subprocess.run(
        ["git", "cat-file", "-e", f"{commit}^{{commit}}"], cwd=folder, capture_output=True, check=False
    )
    return found.returncode == 0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    return report if item.stash.get(MISSES_WHAT_IT_MAY, False) else _refuse_skip(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _refuse_skip((yield))


def _refuse_skip(report: Report) -> Report:
    if NO_SKIPS and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: skipping is not allowed here. {reason}"
    return report
