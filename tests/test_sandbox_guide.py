"""docs/testing-against-the-sandbox.md: its fixtures, tests, faults and users work as written."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from gateway.sandbox.control import NewRating, NewUser
from gateway.sandbox.faults import EFFECTS, Effect, Fault
from gateway.sandbox.shipped import ADA, BEN, CLEO, REVOKED, UNSUBSCRIBED
from tests.ports import free_port

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs" / "testing-against-the-sandbox.md").read_text(encoding="utf-8")
BODIES = {"users": NewUser, "ratings": NewRating, "faults": Fault}


def with_the_program(folder: Path) -> dict[str, str]:
    """An environment with `ratings-gateway` on the path."""
    program = folder / "bin" / "ratings-gateway"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m gateway "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


@pytest.mark.needs("bash")
def test_the_ci_recipe_ends_with_a_gateway_that_is_ready(tmp_path):
    (recipe,) = (block for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL) if "serve &" in block)
    ports = {"GATEWAY_SERVER__PORT": str(free_port()), "GATEWAY_OPS__PORT": str(free_port())}
    script = recipe.replace("--port 8090", "--port 0")
    done = subprocess.run(
        ["bash", "-uc", f"trap 'kill $(jobs -p)' EXIT\n{script}"],
        cwd=tmp_path,
        env=with_the_program(tmp_path) | ports,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert "ready" in done.stdout.splitlines(), done.stdout + done.stderr


def test_the_fixtures_and_the_tests_that_use_them_pass(tmp_path):
    conftest, tests = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    (tmp_path / "conftest.py").write_text(conftest, encoding="utf-8")
    (tmp_path / "test_service.py").write_text(tests, encoding="utf-8")

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path],
        cwd=tmp_path,
        env=with_the_program(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )

    assert re.search(r"^3 passed", done.stdout, re.MULTILINE), done.stdout + done.stderr


@pytest.mark.parametrize(("route", "body"), re.findall(r"/_sandbox/(\w+) -d '(.*)'", GUIDE))
def test_example_bodies_are_accepted_by_the_sandbox(route, body):
    msgspec.json.decode(body, type=BODIES[route])


def test_named_effects_exist():
    named = set(re.findall(r'"name": "([\w-]+)"', GUIDE))
    known = {msgspec.json.decode(msgspec.json.encode(effect))["name"] for effect in EFFECTS}
    assert all(isinstance(effect, Effect) for effect in EFFECTS)
    assert named
    assert named <= known


def test_the_guide_lists_every_user():
    assert re.findall(r"^\| `(sandbox-user-\w+)`", GUIDE, re.MULTILINE) == [
        ADA,
        BEN,
        CLEO,
        REVOKED,
        UNSUBSCRIBED,
    ]
