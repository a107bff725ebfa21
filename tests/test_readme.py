"""The README: its commands print what it shows, and its links lead somewhere."""

import asyncio
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.cli.parser import COMMANDS
from tests.cache.redis.harness import MINIMAL_ACL

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CONSOLES = re.findall(r"```console\n\$ (curl .*?)\n(.*?)```", README, re.DOTALL)


@pytest.fixture
async def demo() -> AsyncIterator[str]:
    # As most people's: what it prints must come through a pipe all the same.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "demo", stdout=asyncio.subprocess.PIPE, cwd=ROOT, env=environment
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            while True:
                said = (await process.stdout.readline()).decode()
                if found := re.search(r"'(http://127.0.0.1:\d+)/v1/me/ratings/albums\?ids", said):
                    break
        yield found[1]
    finally:
        process.terminate()
        await process.communicate()


def comparable(answer: str) -> list[str]:
    """The lines that are the same each time: what README leaves out as … comes last of the headers."""
    lines = [re.sub(r"ttl=\d+", "ttl=…", line.strip()) for line in answer.splitlines()]
    varying = ("X-Request-Id", "Server-Timing", "Date", "Content-Length", "…")
    return [line for line in lines if line and not line.startswith(varying)]


@pytest.mark.needs("curl")
async def test_the_two_answers_shown_are_the_two_answers_given(demo):
    assert len(CONSOLES) == 2
    for command, shown in CONSOLES:
        words = shlex.split(command.replace("http://127.0.0.1:8080", demo))
        process = await asyncio.create_subprocess_exec(
            words[0], "-s", *words[1:], stdout=asyncio.subprocess.PIPE
        )
        answer, _ = await process.communicate()
        assert comparable(answer.decode()) == comparable(shown)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", README))))
def test_every_link_leads_somewhere(path):
    assert (ROOT / path).exists()


def run_against_the_sandbox(folder: Path, port: str) -> subprocess.CompletedProcess[str]:
    """Run README's commands for it, without `serve`, in an empty folder."""
    (block,) = (one for one in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) if "sandbox.env" in one)
    program = folder / "ratings-gateway"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m gateway "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    script = block.replace("--port 8090", f"--port {port}").replace("ratings-gateway serve", "echo good")
    return subprocess.run(
        ["bash", "-uc", f"trap 'kill $(jobs -p)' EXIT\n{script}"],
        cwd=folder,
        env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_it_runs_without_a_key_against_the_sandbox(tmp_path):
    done = run_against_the_sandbox(tmp_path, "0")
    assert done.stdout.endswith("good\n"), done.stdout + done.stderr
    assert "accepts the developer token" in done.stdout


def test_a_sandbox_that_cannot_start_is_not_waited_for(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run_against_the_sandbox(tmp_path, str(taken.getsockname()[1]))
    assert "good" not in done.stdout
    assert "in use" in done.stderr


def test_every_command_is_listed():
    assert set(COMMANDS) <= set(re.findall(r"`([a-z]+)[ `]", README))


def test_the_acl_is_the_one_that_is_tested():
    assert MINIMAL_ACL.replace(">secret", ">PASSWORD") in README
