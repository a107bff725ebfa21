"""`demo`: output is flushed at once, requests are printed as they arrive, and a closed pipe is no error."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ports import free_port

ROOT = Path(__file__).parents[2]
ADA = {"Music-User-Token": "sandbox-user-ada"}


@pytest.fixture
def demo() -> Iterator[subprocess.Popen[str]]:
    """The demo with both streams in one pipe, which Python would buffer."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(
        [sys.executable, "-m", "gateway", "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=environment,
    ) as process:
        yield process
        process.kill()


def test_the_port_can_be_chosen_and_every_page_is_listed():
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-m", "gateway", "demo", "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout
        said = ""
        while "as they come in" not in said:
            said += process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert f"'http://127.0.0.1:{port}/v1/me/ratings" in said
    assert re.search(r"http://127.0.0.1:\d+/docs  ", said)


def test_a_port_in_use_is_1_with_a_hint(gateway):
    taken = gateway.url.rpartition(":")[2]
    ran = subprocess.run(
        [sys.executable, "-m", "gateway", "demo", "--port", taken],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert ran.returncode == 1
    assert f"cannot listen on 127.0.0.1:{taken}: the address is in use. Try another --port." in ran.stderr


def introduced(demo: subprocess.Popen[str]) -> str:
    """Read the first output; the URL of one rating."""
    assert demo.stdout
    url = ""
    for line in demo.stdout:
        if found := re.search(r"'(http://\S+/v1/me/ratings/albums/1138988512)'", line):
            url = found[1]
        if "as they come in" in line:
            break
    assert demo.stdout.readline() == "\n"
    return url


def ask(url: str) -> str:
    with urllib.request.urlopen(urllib.request.Request(url, headers=ADA), timeout=10) as answer:
        return str(answer.headers["Cache-Status"])


def test_each_request_is_printed_as_it_arrives(demo):
    url = introduced(demo)
    said = [ask(url), ask(url)]
    assert "hit" in said[1]
    shown = [demo.stdout.readline().strip() for _ in said]
    assert shown == [f"GET /v1/me/ratings/{{type}}/{{id}}  200  {status}" for status in said]
    demo.send_signal(signal.SIGINT)
    assert demo.stdout.read() == "stopped\n"
    assert demo.wait(10) == 0


def test_it_serves_and_exits_after_its_output_was_closed(demo):
    url = introduced(demo)
    demo.stdout.close()
    assert "miss" in ask(url)
    assert demo.wait(10) == 1
