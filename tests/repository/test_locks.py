"""The locks pin everything that the project asks for, by hash, and name no place to get it from."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = ["requirements.lock", "requirements-dev.lock", "deploy/build.lock", "tests/e2e/clients.lock"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def text_of(lock: str) -> str:
    return (ROOT / lock).read_text(encoding="utf-8")


def pins(lock: str) -> dict[str, str]:
    """Name and version, with the environment marker where there is one."""
    found = re.findall(r"^([a-z0-9-]+)==([^ ]+(?: ; .*)?) \\$", text_of(lock), re.MULTILINE)
    return {name: version.rstrip() for name, version in found}


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=~ ]", requirement)[0] for requirement in requirements}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_pins_with_hashes_and_nothing_else(lock):
    line = re.compile(r"[a-z0-9-]+==[^ /]+( ; [^/]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?")
    assert [found for found in text_of(lock).splitlines() if not line.fullmatch(found)] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_a_hash(lock):
    blocks = re.split(r"^(?=[a-z0-9])", text_of(lock), flags=re.MULTILINE)[1:]
    assert [block for block in blocks if "--hash=" not in block] == []


@pytest.mark.parametrize(
    ("lock", "requirements"),
    [
        ("requirements.lock", PROJECT["project"]["dependencies"]),
        ("requirements-dev.lock", PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["dev"]),
        ("deploy/build.lock", PROJECT["build-system"]["requires"]),
        ("tests/e2e/clients.lock", PROJECT["dependency-groups"]["clients"]),
    ],
)
def test_a_lock_pins_what_the_project_asks_for(lock, requirements):
    assert names(requirements) - pins(lock).keys() == set()


def test_what_is_pinned_fits_together():
    """Locks are installed without resolving, so pip has not looked at what their packages ask for."""
    checked = subprocess.run(
        [sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("lock", ["requirements.lock", "deploy/build.lock"])
def test_what_is_tested_is_what_runs(lock):
    # Markers say for which platforms; what more is locked beside a package may widen them.
    tested = {name: pin.partition(" ;")[0] for name, pin in pins("requirements-dev.lock").items()}
    assert {name: pin.partition(" ;")[0] for name, pin in pins(lock).items()}.items() <= tested.items()
