"""How the image is described. Whether it works, `deploy/build-image` shows: it builds and runs it."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.files import DEPLOY, ROOT

DOCKERFILE = ROOT / "Dockerfile"
SCRIPTS = [DEPLOY / "build-image", DEPLOY / "try-image", DEPLOY / "prometheus" / "prometheus-rule"]


def instructions() -> list[tuple[str, str]]:
    """Every instruction and its argument, of all stages, with lines joined and comments dropped."""
    text = re.sub(r"(?m)^#.*\n", "", DOCKERFILE.read_text())
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines) if word]


def of(wanted: str) -> list[str]:
    return [rest for word, rest in instructions() if word == wanted]


def pins(lock: Path) -> set[str]:
    """`name==version` with every hash."""
    return set(re.sub(r" \\\n\s*", " ", lock.read_text()).splitlines())


def test_hadolint_finds_nothing():
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.needs("shellcheck")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script):
    # SC2016: `$(SITE)` is apt's own, and the script within the script has its own arguments.
    command = ["shellcheck", "--exclude", "SC2016", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_base_is_one_literal_that_update_bots_can_read():
    base, *others = of("FROM")
    assert re.fullmatch(r"python:3\.\d+-slim-\w+ AS base", base)
    assert others == ["scratch AS wheels", "base AS build", "base"]


def test_it_serves_as_an_unprivileged_user():
    assert of("USER") == ["65532:65532"]
    assert of("ENTRYPOINT") == ['["ratings-gateway"]']
    assert of("CMD") == ['["serve"]']
    (check,) = of("HEALTHCHECK")
    assert check.endswith('CMD ["ratings-gateway", "healthcheck"]')


def test_it_says_what_it_is():
    (labels,) = of("LABEL")
    named = {
        label.partition("=")[0].removeprefix("org.opencontainers.image.") for label in shlex.split(labels)
    }
    assert named == {"title", "description", "licenses", "version", "revision", "created"}


def test_everything_is_installed_from_locks_with_hashes():
    installs = re.findall(r"pip (?:--python \S+ )?install [^&]*", " ".join(of("RUN")))
    assert len(installs) == 3
    for install in installs:
        assert "--no-deps --require-hashes" in install or "--no-index /dist/" in install, install


@pytest.mark.parametrize("lock", ["requirements.lock", "deploy/build.lock"])
def test_the_image_gets_what_the_tests_were_run_with(lock):
    found = pins(ROOT / lock)
    assert all(" --hash=sha256:" in pin for pin in found)
    # Markers say for which platforms; what more is locked beside a package may widen them.
    marker = re.compile(r" ; .*?(?= --hash)")
    tested = {marker.sub("", pin) for pin in pins(ROOT / "requirements-dev.lock")}
    assert {marker.sub("", pin) for pin in found} <= tested


def test_the_build_sees_what_it_copies_and_nothing_else():
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert rules[0] == "*"
    admitted = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    copied = {source for copy in of("COPY") if "--from" not in copy for source in copy.split()[:-1]}
    assert copied == admitted


def test_what_the_package_links_to_is_copied_with_it():
    copied = [ROOT / source for copy in of("COPY") if "--from" not in copy for source in copy.split()[:-1]]
    linked = [path.resolve() for path in (ROOT / "gateway").rglob("*") if path.is_symlink()]
    for target in linked:
        assert any(target.is_relative_to(source) for source in copied), target
    assert linked
