"""The front door: `make`, `.ci/run`, the licence, and the wheel."""

import hashlib
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def ran(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    # What the `make test` around it was given, PYTHON=… for example, is not for this run.
    ours = ("MAKE", "MFLAGS", "PYTHON")
    environ = {name: text for name, text in os.environ.items() if not name.startswith(ours)}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=environ)


@pytest.mark.needs("make")
def test_bare_make_lists_every_target_with_its_meaning():
    targets = set(re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)[0].split())
    listed = dict(re.findall(r"^  make ([a-z-]+) +(\S.*)$", ran("make").stdout, re.MULTILINE))
    assert listed.keys() == targets


@pytest.mark.needs("make")
def test_a_python_that_is_too_old_is_refused_in_words(tmp_path):
    old = tmp_path / "python3"
    old.write_text(f"#!{sys.executable}\nimport sys\nsys.version_info = (3, 10)\nexec(sys.argv[2])\n")
    old.chmod(0o755)
    for name in ("Makefile", "requirements.lock"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    refused = ran("make", f"PYTHON={old}", ".venv-3.10/.runtime", cwd=tmp_path)
    assert refused.returncode != 0
    assert "Python 3.11 or newer is needed" in refused.stderr


@pytest.mark.needs("make")
@pytest.mark.parametrize("target", ["demo", "test"])
def test_an_environment_that_works_is_never_removed(target):
    """A demo may be running from it."""
    planned = ran("make", "--dry-run", "--always-make", target).stdout
    assert "pip install" in planned
    assert "rm -rf" not in planned
    (created,) = (line for line in planned.splitlines() if "-m venv" in line)
    assert created.startswith('.venv/bin/python -c "" 2>/dev/null ||')


@pytest.mark.needs("make")
@pytest.mark.parametrize("target", ["test", "check", "demo"])
def test_a_python_that_is_named_has_an_environment_of_its_own(target):
    planned = ran("make", "--dry-run", f"PYTHON={sys.executable}", target)
    version = "{}.{}".format(*sys.version_info)
    *_, last = (line for line in planned.stdout.splitlines() if "/bin/" in line)
    assert last.startswith(f".venv-{version}/bin/")


def test_ci_runs_a_part_of_the_suite_on_the_newest_python():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert 'make test PYTHON="$newest"' in script


def test_the_image_is_made_of_a_python_that_the_project_supports():
    (minor,) = re.findall(
        r"^FROM python:3\.(\d+)-", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert int(minor) >= 13


def test_nothing_is_resolved_while_a_lock_is_installed():
    """A package released after the lock must not break the install: pip resolves extras anew."""
    assert "pip install" in MAKEFILE
    for line in MAKEFILE.splitlines():
        if "pip install" in line:
            assert "--no-deps --require-hashes" in line


@pytest.mark.needs("bash")
def test_what_ci_runs_is_sound_bash():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert ran("bash", "-n", str(script)).stderr == ""


def test_the_licence_is_apache_2_in_full():
    text = (ROOT / "LICENSE").read_bytes()
    assert (
        hashlib.sha256(text).hexdigest() == "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
    )


def test_the_wheel_holds_every_file_of_the_package(tmp_path):
    built = ran(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path))
    assert built.returncode == 0, built.stderr
    [wheel] = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("gateway/")}
    present = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "gateway").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert present - packed == set()
