"""docs/callers.md: its examples run against the demo and print what they should."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.sandbox import Sandbox
from gateway.server import serving
from gateway.settings import load

GUIDE = (Path(__file__).parent.parent / "docs" / "callers.md").read_text(encoding="utf-8")


def example(language: str) -> str:
    """The first example in `language`."""
    found = re.search(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)
    assert found
    return found[1]


@pytest.fixture
async def gateway() -> AsyncIterator[str]:
    async with Sandbox() as sandbox:
        credentials = sandbox.credentials
        settings = load(
            None,
            {
                "GATEWAY_APPLE__BASE_URL": sandbox.url,
                "GATEWAY_APPLE__TEAM_ID": credentials.team_id,
                "GATEWAY_APPLE__KEY_ID": credentials.key_id,
                "GATEWAY_APPLE__PRIVATE_KEY": credentials.private_key_pem,
                "GATEWAY_SERVER__PORT": "0",
                "GATEWAY_OPS__PORT": "0",
            },
        )
        async with serving(settings) as served:
            yield served.api_url


def write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")


async def output(language: str, gateway: str, file: Path, *command: str) -> str:
    """Run the example against `gateway`; what it prints."""
    write(file, example(language).replace("http://127.0.0.1:8080", gateway))
    process = await asyncio.create_subprocess_exec(
        *command,
        str(file),
        cwd=file.parent,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, complaints = await process.communicate()
    assert process.returncode == 0, complaints.decode()
    return printed.decode()


@pytest.mark.needs("curl")
async def test_curl_reads_both_albums(gateway, tmp_path):
    answer = json.loads(await output("sh", gateway, tmp_path / "read.sh", "sh"))
    assert [item["id"] for item in answer["data"]] == ["1138988512", "475655712"]


async def test_python_distinguishes_rated_from_unrated_ids(gateway, tmp_path):
    printed = await output("python", gateway, tmp_path / "read.py", sys.executable)
    assert printed == "{'1138988512': 1, '475655712': 1, '111': None}\n"


@pytest.mark.needs("javac")
async def test_java_returns_the_answer(gateway, tmp_path):
    answer = json.loads(await output("java", gateway, tmp_path / "Ratings.java", "java"))
    assert [item["attributes"]["value"] for item in answer["data"]] == [1, 1]


@pytest.mark.needs("go")
async def test_go_returns_the_ratings_and_what_failed(gateway, tmp_path):
    printed = await output("go", gateway, tmp_path / "read.go", "go", "run")
    assert printed == "map[1138988512:1 475655712:1] [] <nil>\n"
